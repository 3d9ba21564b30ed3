//! The password and the admin port's token: where they may come from, and a type that does not print them.
//!
//! There is no flag for a secret itself, because every user of a machine can read the arguments of a process.

use std::{ffi::OsString, fmt, fs::File, io::Read, os::unix::ffi::OsStringExt, path::Path};

use crate::{
    admin::{TOKEN_BYTES_MAX, Token},
    limits::PASSWORD_BYTES_MAX,
};

/// Bytes of a secret's file that are looked at: enough to see that one is too long.
const FILE_BYTES_MAX: u64 = PASSWORD_BYTES_MAX as u64 + 3;
const _: () = assert!(TOKEN_BYTES_MAX <= PASSWORD_BYTES_MAX);

/// What a secret is for.
#[derive(Debug)]
pub struct Kind {
    /// What messages call it.
    pub name: &'static str,
    /// The variable that can hold it.
    pub variable: &'static str,
    check: fn(&[u8]) -> Result<(), String>,
}

/// What clients give to AUTH.
pub const PASSWORD: Kind = Kind { name: "password", variable: "PANNIER_PASSWORD", check: check_password };
/// What requests to the admin port carry.
pub const ADMIN_TOKEN: Kind =
    Kind { name: "admin token", variable: "PANNIER_ADMIN_TOKEN", check: check_admin_token };

/// Bytes that logs and debug output do not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret itself, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The secret from the file, or else from the value of its variable; an empty variable is none.
///
/// # Errors
/// A file that cannot be read or holds no secret; a secret in both places, where they differ; one that cannot be used.
pub fn find(kind: &Kind, file: Option<&Path>, variable: Option<OsString>) -> Result<Option<Secret>, String> {
    let from_variable = variable.map(OsString::into_vec).filter(|bytes| !bytes.is_empty());
    let from_file = file.map(|file| read_file(kind, file)).transpose()?;
    if let (Some(a), Some(b)) = (&from_file, &from_variable)
        && a != b
    {
        return Err(format!("the {} file and {} differ; set only one of them", kind.name, kind.variable));
    }
    let secret = from_file.or(from_variable);
    secret.map(|secret| checked(kind, secret)).transpose()
}

/// The password from the file, or else from the value of its variable.
///
/// # Errors
/// As [`find`].
pub fn password(file: Option<&Path>, variable: Option<OsString>) -> Result<Option<Secret>, String> {
    find(&PASSWORD, file, variable)
}

/// The secret in the file, as a server reads it again on SIGHUP: then the file alone counts, because the
/// environment of a process does not change.
///
/// # Errors
/// The file cannot be read, holds no secret, or one that cannot be used.
pub fn from_file(kind: &Kind, file: &Path) -> Result<Secret, String> {
    read_file(kind, file).and_then(|secret| checked(kind, secret))
}

fn checked(kind: &Kind, secret: Vec<u8>) -> Result<Secret, String> {
    (kind.check)(&secret).map(|()| Secret(secret))
}

fn check_password(password: &[u8]) -> Result<(), String> {
    match password.len() {
        0..=PASSWORD_BYTES_MAX => Ok(()),
        _ => Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")),
    }
}

fn check_admin_token(token: &[u8]) -> Result<(), String> {
    Token::new(token).map(drop).map_err(|error| error.to_string())
}

/// The file without the line end that editors and `echo` put there.
fn read_file(kind: &Kind, file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Bounded: a slip of the hand may name a device or a log.
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read the {} file {}: {error}", kind.name, file.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(format!("the {} file {} is empty", kind.name, file.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file<T>(name: &str, text: &str, test: impl FnOnce(&Path) -> T) -> T {
        let path = std::env::temp_dir().join(format!("pannier-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let result = test(&path);
        std::fs::remove_file(&path).unwrap();
        result
    }

    #[test]
    fn from_either_place() {
        assert_eq!(password(None, None), Ok(None));
        assert_eq!(password(None, Some("".into())), Ok(None));
        assert_eq!(password(None, Some("a b".into())), Ok(Some(Secret(b"a b".to_vec()))));
        for text in ["pw", "pw\n", "pw\r\n"] {
            let found = with_file("either", text, |file| password(Some(file), Some("pw".into())));
            assert_eq!(found, Ok(Some(Secret(b"pw".to_vec()))), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert!(with_file("empty", "\n", |file| password(Some(file), None)).unwrap_err().contains("empty"));
        assert!(
            with_file("two", "a", |file| password(Some(file), Some("b".into())))
                .unwrap_err()
                .contains("differ")
        );
        assert!(password(Some(Path::new("/nonexistent/pw")), None).unwrap_err().contains("/nonexistent/pw"));
        assert!(password(None, Some("x".repeat(5000).into())).is_err());
        let error = find(&ADMIN_TOKEN, None, Some("guessable".into())).unwrap_err();
        assert!(error.contains("9 bytes") && error.contains("openssl rand"), "{error}");
        let error = with_file("token", "", |file| find(&ADMIN_TOKEN, Some(file), None)).unwrap_err();
        assert!(error.contains("admin token file"), "{error}");
    }

    #[test]
    fn it_is_not_shown() {
        assert!(!format!("{:?}", Secret(b"hunter2".to_vec())).contains("hunter2"));
    }
}
