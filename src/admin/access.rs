//! Who may read what the admin port shows: everyone may ask the probes; the rest needs the token where there is one, and
//! without a token the port of the loopback interface answers browsers only where they were sent on purpose.
//!
//! **DNS rebinding.** A web page of another site cannot read `http://127.0.0.1:7879/metrics`, because its origin is
//! another one. Its own name may be made to resolve to 127.0.0.1, though; then the browser takes the two for the same origin and
//! lets the page read. Such a request names that site in its Host header, so the port answers only to IP addresses
//! and to `localhost`. With a token this is no danger: the browser has no token for that site.

use base64::{Engine, prelude::BASE64_STANDARD};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use subtle::ConstantTimeEq;

/// Bytes of a token, at least: a guess is one in 2^90 or so where its letters are random.
pub const TOKEN_BYTES_MIN: usize = 16;
/// Bytes of a token, at most; a comparison looks at this many.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Bytes of decoded Basic credentials, a name and the token, that are looked at.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// A token, compared in a time that does not depend on what is compared.
#[derive(Clone)]
pub struct Token {
    bytes: [u8; TOKEN_BYTES_MAX],
    len: usize,
}

impl Token {
    /// A token that can stand in a header.
    ///
    /// # Errors
    /// It is shorter than [`TOKEN_BYTES_MIN`], longer than [`TOKEN_BYTES_MAX`], or holds a space or what is not ASCII.
    pub fn new(token: &[u8]) -> Result<Token, TokenError> {
        match token.len() {
            ..TOKEN_BYTES_MIN => return Err(TokenError::Short(token.len())),
            TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX => {}
            _ => return Err(TokenError::Long),
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Letters);
        }
        let mut bytes = [0; TOKEN_BYTES_MAX];
        bytes[..token.len()].copy_from_slice(token);
        Ok(Token { bytes, len: token.len() })
    }

    fn is(&self, given: &[u8]) -> bool {
        let mut padded = [0; TOKEN_BYTES_MAX];
        let len = given.len().min(TOKEN_BYTES_MAX);
        padded[..len].copy_from_slice(&given[..len]);
        (self.bytes.ct_eq(&padded) & self.len.ct_eq(&given.len())).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

/// Why a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It has so few bytes.
    Short(usize),
    Long,
    Letters,
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Short(len) => write!(
                formatter,
                "the admin token has {len} bytes and could be guessed; use at least {TOKEN_BYTES_MIN}, such as the \
                 output of: openssl rand -hex 24"
            ),
            TokenError::Long => write!(formatter, "the admin token is longer than {TOKEN_BYTES_MAX} bytes"),
            TokenError::Letters => formatter.write_str(
                "the admin token holds a space or a character that is not ASCII, which a header cannot carry; use \
                 letters and digits, such as the output of: openssl rand -hex 24",
            ),
        }
    }
}

/// The rule of one admin port.
#[derive(Debug)]
pub struct Access {
    token: Option<Token>,
    /// The port listens on a loopback address.
    loopback: bool,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It carries no token.
    NoToken,
    WrongToken,
    /// Its Host header is a name that may be someone else's.
    ForeignHost,
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Denied::NoToken => "the request carries no token",
            Denied::WrongToken => "the request carries another token",
            Denied::ForeignHost => "the Host header names another site",
        })
    }
}

impl Access {
    /// The rule of a port that listens at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<Token>) -> Access {
        Access { token, loopback: address.ip().to_canonical().is_loopback() }
    }

    /// Another token from now on.
    pub fn set_token(&mut self, token: Token) {
        self.token = Some(token);
    }

    /// Whether a request with these headers may read more than probes.
    pub(super) fn check(&self, headers: &[httparse::Header<'_>]) -> Result<(), Denied> {
        let named = |name: &'static str| {
            headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value)
        };
        match &self.token {
            Some(token) => match named("authorization").next() {
                None => Err(Denied::NoToken),
                Some(given) if carries(given, token) => Ok(()),
                Some(_) => Err(Denied::WrongToken),
            },
            // Tools that send no Host are no browsers.
            None if self.loopback && !named("host").all(is_local) => Err(Denied::ForeignHost),
            None => Ok(()),
        }
    }
}

/// Whether an Authorization header carries the token: as a bearer (RFC 6750), or as the password of any user, which is what
/// a browser can be made to send (RFC 7617).
fn carries(header: &[u8], token: &Token) -> bool {
    let Some(space) = header.iter().position(|&byte| byte == b' ') else { return false };
    let (scheme, rest) = (&header[..space], header[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        return token.is(rest);
    }
    let mut decoded = [0; CREDENTIALS_BYTES_MAX];
    let Ok(len) = BASE64_STANDARD.decode_slice(rest, &mut decoded) else { return false };
    let decoded = &decoded[..len];
    let colon = decoded.iter().position(|&byte| byte == b':');
    scheme.eq_ignore_ascii_case(b"Basic") && colon.is_some_and(|colon| token.is(&decoded[colon + 1..]))
}

/// Whether a Host header is `localhost`, a name below it, or an address. A page that was loaded from an address cannot
/// make it mean another one.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split_once(']').filter(|(_, port)| port.is_empty() || port.starts_with(':'));
        return address.is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = port.map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit_once('.').map_or(name, |(_, top)| top);
    host.is_empty() || top.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = b"0123456789abcdef";

    fn check(address: &str, token: Option<&[u8]>, headers: &[(&str, &str)]) -> Result<(), Denied> {
        let access = Access::new(address.parse().unwrap(), token.map(|token| Token::new(token).unwrap()));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        access.check(&headers)
    }

    #[test]
    fn a_token_must_be_long_and_fit_a_header() {
        assert!(Token::new(TOKEN).is_ok() && Token::new(&[b'x'; TOKEN_BYTES_MAX]).is_ok());
        for (token, error) in [
            (&b""[..], TokenError::Short(0)),
            (b"0123456789abcde", TokenError::Short(15)),
            (&[b'x'; TOKEN_BYTES_MAX + 1], TokenError::Long),
            (b"0123456789 abcdef", TokenError::Letters),
            (b"0123456789abcdef\n", TokenError::Letters),
            ("0123456789abcdefü".as_bytes(), TokenError::Letters),
        ] {
            assert_eq!(Token::new(token).unwrap_err(), error);
        }
        assert!(!format!("{:?}", Token::new(TOKEN)).contains("0123"));
    }

    #[test]
    fn only_the_token_is_the_token() {
        let asked = |value: &str| check("0.0.0.0:1", Some(TOKEN), &[("Authorization", value)]);
        for value in [
            "Bearer 0123456789abcdef",
            "bearer   0123456789abcdef",
            // prometheus:0123456789abcdef and :0123456789abcdef
            "Basic cHJvbWV0aGV1czowMTIzNDU2Nzg5YWJjZGVm",
            "BASIC OjAxMjM0NTY3ODlhYmNkZWY=",
        ] {
            assert_eq!(asked(value), Ok(()), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Basic 0123456789abcdef",
            "Basic MDEyMzQ1Njc4OWFiY2RlZg==",
            "Basic cHJvbWV0aGV1czoy",
            "Digest 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert_eq!(asked(value), Err(Denied::WrongToken), "{value}");
        }
        let long = format!("Basic {}", "QUFB".repeat(1500));
        assert_eq!(asked(&long), Err(Denied::WrongToken));
        assert_eq!(check("127.0.0.1:1", Some(TOKEN), &[("Host", "127.0.0.1")]), Err(Denied::NoToken));
        // A token makes any name right: browsers have none for a foreign site.
        let proxied = [("Host", "stats.example.com"), ("AUTHORIZATION", "Bearer 0123456789abcdef")];
        assert_eq!(check("127.0.0.1:1", Some(TOKEN), &proxied), Ok(()));
    }

    #[test]
    fn on_loopback_a_name_that_may_be_rebound_is_denied() {
        let hosts = [
            "localhost",
            "localhost:7879",
            "LOCALHOST",
            "localhost.",
            "pannier.localhost:1",
            "127.0.0.1",
            "127.0.0.1:7879",
            "10.1.2.3:7879",
            "[::1]",
            "[::1]:7879",
            "",
        ];
        for host in hosts {
            assert_eq!(check("127.0.0.1:7879", None, &[("Host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check("[::1]:7879", None, &[]), Ok(()), "no browser");
        let hosts = [
            "evil.example",
            "evil.example:7879",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "[::1",
            "[::1]evil",
            "[evil]:1",
            "::1:x.example",
        ];
        for host in hosts {
            for address in ["127.0.0.1:7879", "[::1]:7879", "[::ffff:127.0.0.1]:7879"] {
                assert_eq!(check(address, None, &[("host", host)]), Err(Denied::ForeignHost), "{host}");
            }
            assert_eq!(check("0.0.0.0:7879", None, &[("host", host)]), Ok(()), "{host}");
        }
        let two = [("Host", "localhost"), ("Host", "evil.example")];
        assert_eq!(check("127.0.0.1:7879", None, &two), Err(Denied::ForeignHost));
    }
}
