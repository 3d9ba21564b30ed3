//! The first words of a client: HELLO, AUTH, SELECT; and PING, ECHO.

use super::{Call, Flow, Outcome, REDIS_VERSION, names::Name};
use crate::{
    mutation::LargeId,
    reply::{Error, ErrorKind},
    wire::{arguments::Arg, encode::Protocol, number::parse_i64},
};

/// The one user there is.
const USER: &[u8] = b"default";

/// `PING [message]`
pub fn ping<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match call.args.len() {
        1 => {
            call.out.simple("PONG");
            Ok(Flow::Done)
        }
        2 => echo(call),
        _ => Err(ErrorKind::WrongArity.of(b"ping")),
    }
}

/// `ECHO message`
pub fn echo<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match call.args.get(1) {
        Some(Arg::Bytes(bytes)) => call.out.bulk(bytes),
        Some(Arg::Large(id)) => echo_large(call, id),
        _ => return Err(ErrorKind::Full.plain()),
    }
    Ok(Flow::Done)
}

fn echo_large(call: &mut Call<'_, '_, '_>, id: LargeId) {
    let len = call.engine.store.large_len(id);
    call.answer_large(id, len);
}

/// `SELECT n`
pub fn select<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.session.db = call.database(1)?;
    call.ok()
}

/// `AUTH [user] password`
pub fn auth<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (user, password) = match call.args.len() {
        2 if !call.engine.has_password() => return Err(ErrorKind::NoPasswordSet.plain()),
        2 => (USER, call.args.bytes(1)),
        3 => (call.args.bytes(1).unwrap_or_default(), call.args.bytes(2)),
        _ => return Err(ErrorKind::Syntax.plain()),
    };
    authenticate(call, user, password.unwrap_or_default())?;
    call.ok()
}

fn authenticate<'a>(call: &mut Call<'_, 'a, '_>, user: &[u8], password: &[u8]) -> Result<(), Error<'a>> {
    // The password is compared whatever the user, so that the answer takes as long.
    let fits = call.engine.password.as_ref().is_none_or(|expected| expected.is(password));
    if !fits || user != USER {
        return Err(ErrorKind::WrongPassword.plain());
    }
    call.session.authenticated = true;
    Ok(())
}

/// What HELLO is asked for.
struct Hello<'a> {
    protocol: Protocol,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    fn parse(call: &Call<'_, 'a, '_>) -> Result<Hello<'a>, Error<'a>> {
        let mut hello = Hello { protocol: call.session.protocol, login: None, name: None };
        let Some(version) = call.args.get(1) else { return Ok(hello) };
        let version = if let Arg::Bytes(version) = version { version } else { b"" };
        hello.protocol = match parse_i64(version) {
            None => return Err(ErrorKind::ProtocolNotAnInteger.plain()),
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(ErrorKind::UnsupportedProtocol.plain()),
        };
        let mut at = 2;
        while at < call.args.len() {
            let left = call.args.len() - at - 1;
            if call.is_word(at, "AUTH") && left >= 2 {
                hello.login = Some((call.bytes(at + 1)?, call.bytes(at + 2)?));
                at += 3;
            } else if call.is_word(at, "SETNAME") && left >= 1 {
                hello.name = Some(call.bytes(at + 1)?);
                at += 2;
            } else {
                return Err(ErrorKind::HelloOption.of(call.args.bytes(at).unwrap_or_default()));
            }
        }
        Ok(hello)
    }
}

/// `HELLO [2 | 3 [AUTH user password] [SETNAME name]]`
pub fn hello<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let hello = Hello::parse(call)?;
    if let Some((user, password)) = hello.login {
        authenticate(call, user, password)?;
    }
    if !call.session.authenticated {
        return Err(ErrorKind::HelloNoAuth.plain());
    }
    if let Some(name) = hello.name {
        call.engine.client_names.set(&mut call.session.names, Name::Connection, name)?;
    }
    call.session.protocol = hello.protocol;
    let id = call.session.id as i64;
    let out = &mut *call.out;
    out.set_protocol(hello.protocol);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.integer(if hello.protocol == Protocol::Resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.integer(id);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(Flow::Done)
}
