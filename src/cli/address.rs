//! A server's address as people write it: `host:port`, a host alone, or a URL.

use super::secret::Secret;
use crate::client::DEFAULT_PORT;

/// Which server, and what a URL says beside that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// `host:port` or a host alone.
    name: String,
    password: Option<Secret>,
    database: u32,
}

impl ServerAddress {
    /// Whether there is such a host, the system has to say.
    ///
    /// # Errors
    /// What is wrong with the spelling, and how it should be.
    pub(super) fn parse(text: &str) -> Result<ServerAddress, String> {
        match text.split_once("://") {
            Some(("redis" | "pannier", rest)) => parse_url(rest),
            Some(("rediss", _)) => Err("the server has no TLS yet; write redis:// or host:port".to_owned()),
            Some(("unix" | "redis+unix" | "redis-socket", _)) => {
                Err("the server has no Unix socket yet; write host:port".to_owned())
            }
            Some((scheme, _)) => {
                Err(format!("unknown scheme '{scheme}'; write redis://host:port, or host:port"))
            }
            None => Ok(ServerAddress { name: checked(text)?, password: None, database: 0 }),
        }
    }

    /// `host:port` or a host alone, as the client library takes it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    pub(super) fn database(&self) -> u32 {
        self.database
    }
}

fn checked(text: &str) -> Result<String, String> {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address alone has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || host.contains(char::is_whitespace) || !port.is_none_or(is_port) {
        return Err(format!(
            "write host:port, such as 127.0.0.1:7878, or a host alone for port {DEFAULT_PORT}"
        ));
    }
    Ok(text.to_owned())
}

/// What follows `redis://`: `[[user]:password@]host[:port][/database]`.
fn parse_url(rest: &str) -> Result<ServerAddress, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match path {
        "" => 0,
        digits => digits.parse().map_err(|_| format!("'{digits}' is not the number of a database"))?,
    };
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let password = login.map(parse_login).transpose()?.flatten();
    Ok(ServerAddress { name: checked(host)?, password, database })
}

fn parse_login(login: &str) -> Result<Option<Secret>, String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    if !matches!(user, "" | "default") {
        return Err("the server has one user, 'default'; write redis://:PASSWORD@host".to_owned());
    }
    let password =
        decoded(password).ok_or("the password of a URL is percent-encoded: '%' stands before two digits")?;
    Ok(Some(password).filter(|password| !password.is_empty()).map(Secret::from))
}

/// Bytes of a part of a URL, `%41` being an `A`.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for text in
            ["a", "a:1", "127.0.0.1:7878", "::1", "[::1]", "[::1]:7878", "fe80::1%eth0", "cache.internal"]
        {
            assert_eq!(ServerAddress::parse(text).unwrap().name(), text);
        }
        for text in ["", ":1", "a:", "a:b", "a:0", "a:65536", "[::1]:x", "a b:1"] {
            assert!(ServerAddress::parse(text).unwrap_err().contains("host:port"), "{text:?}");
        }
    }

    #[test]
    fn urls() {
        for (text, name, password, database) in [
            ("redis://a", "a", None, 0),
            ("redis://a:1/", "a:1", None, 0),
            ("redis://[::1]:7878/3", "[::1]:7878", None, 3),
            ("redis://:p%40ss%2F@a:1/15", "a:1", Some("p@ss/"), 15),
            ("redis://default:p:q@a", "a", Some("p:q"), 0),
            ("redis://@a", "a", None, 0),
        ] {
            let address = ServerAddress::parse(text).unwrap();
            let expected = password.map(|password| Secret::from(password.as_bytes().to_vec()));
            assert_eq!(
                (address.name(), address.password(), address.database()),
                (name, expected.as_ref(), database)
            );
            assert!(!format!("{address:?}").contains("p@ss"), "a password is not shown");
        }
        for (text, told) in [
            ("redis://", "host:port"),
            ("redis://a:1/x", "database"),
            ("redis://alice:pw@a", "one user"),
            ("redis://:%zz@a", "percent"),
            ("rediss://a", "no TLS"),
            ("unix:///run/pannier.sock", "no Unix socket"),
            ("http://a", "unknown scheme 'http'"),
        ] {
            let error = ServerAddress::parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
