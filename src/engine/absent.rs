//! What belongs to features of Redis that this server does not have: a cluster, copies on other machines, users,
//! modules, blocked clients. Each answers as a Redis does that runs without the feature; what could only
//! pretend is an error that says so.

use super::{Call, Flow, Outcome, REDIS_VERSION};
use crate::{
    command::{CATEGORIES, VERBS},
    reply::{ErrorKind, Part},
    wire::number::parse_i64,
};
use std::fmt::Write;

/// `CLUSTER …`, `READONLY`, `READWRITE`, `ASKING`
pub fn cluster<'a>(_: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    Err(ErrorKind::ClusterDisabled.plain())
}

/// `ROLE`: a primary without replicas.
pub fn role<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.array(3);
    call.out.bulk(b"master");
    call.out.integer(0);
    call.out.array(0);
    Ok(Flow::Done)
}

/// `LOLWUT [VERSION n] …`: as a Redis that has no picture for its version.
pub fn lolwut<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.is_word(1, "VERSION") && call.args.len() > 2 {
        call.integer(2)?;
    }
    let mut text = std::mem::take(&mut call.engine.text);
    text.clear();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Redis ver. {REDIS_VERSION} (Pannier {})", env!("CARGO_PKG_VERSION"));
    call.out.verbatim(*b"txt", text.as_bytes());
    call.engine.text = text;
    Ok(Flow::Done)
}

/// The one user; AUTH's password is this user's.
const USER: &[u8] = b"default";

/// `ACL WHOAMI`
pub fn acl_whoami<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.bulk(USER);
    Ok(Flow::Done)
}

/// `ACL USERS`
pub fn acl_users<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.array(1);
    call.out.bulk(USER);
    Ok(Flow::Done)
}

/// `ACL CAT [category]`
pub fn acl_cat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match call.args.len() {
        2 => {
            call.out.array(CATEGORIES.len());
            CATEGORIES.iter().for_each(|name| call.out.bulk(name.as_bytes()));
        }
        3 => {
            let word = call.bytes(2)?;
            let known = CATEGORIES.into_iter().find(|name| name.as_bytes().eq_ignore_ascii_case(word));
            let category = known.ok_or(ErrorKind::UnknownCategory.of(super::quote::shown(word, 128)))?;
            let verbs = VERBS.iter().filter(|verb| verb.in_category(category));
            call.out.array(verbs.clone().count());
            verbs.for_each(|verb| call.out.bulk(verb.name.as_bytes()));
        }
        _ => {
            let word = call.args.bytes(1).unwrap_or_default();
            return Err(ErrorKind::SubcommandSyntax.of_both(Part::Bytes(word), Part::Bytes(b"ACL")));
        }
    }
    Ok(Flow::Done)
}

/// `MODULE LIST`
pub fn module_list<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.array(0);
    Ok(Flow::Done)
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`: no command blocks.
pub fn client_unblock<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.args.len() > 4 {
        let word = call.args.bytes(1).unwrap_or_default();
        return Err(ErrorKind::SubcommandSyntax.of_both(Part::Bytes(word), Part::Bytes(b"CLIENT")));
    }
    if call.args.len() == 4 && !call.is_word(3, "TIMEOUT") && !call.is_word(3, "ERROR") {
        return Err(ErrorKind::UnblockReason.plain());
    }
    call.args.bytes(2).and_then(parse_i64).ok_or(ErrorKind::NotAnInteger.plain())?;
    call.done(0)
}
