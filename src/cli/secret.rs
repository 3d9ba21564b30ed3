//! The password: where it may come from, and a type that does not print it.
//!
//! There is no flag for the password itself, because the arguments of a process are there for everybody to read.

use std::{ffi::OsString, fmt, fs::File, io::Read, os::unix::ffi::OsStringExt, path::Path};

use crate::limits::PASSWORD_BYTES_MAX;

/// Bytes of a password file that are looked at: enough to see that one is too long.
const FILE_BYTES_MAX: u64 = PASSWORD_BYTES_MAX as u64 + 3;

/// Bytes that logs and debug output do not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The password itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The password itself, taken out.
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

/// The password from the file, or else from the value of `PANNIER_PASSWORD`; an empty variable is none.
///
/// # Errors
/// A file that cannot be read or holds no password; a password in both places, where they differ.
pub fn password(file: Option<&Path>, variable: Option<OsString>) -> Result<Option<Secret>, String> {
    let from_variable = variable.map(OsString::into_vec).filter(|bytes| !bytes.is_empty());
    let from_file = file.map(read_password_file).transpose()?;
    if let (Some(a), Some(b)) = (&from_file, &from_variable)
        && a != b
    {
        return Err("the password file and PANNIER_PASSWORD differ; set only one of them".to_owned());
    }
    let password = from_file.or(from_variable);
    password.map(bounded).transpose()
}

/// The password in the file, as a server reads it again on SIGHUP: then the file alone counts, because the
/// environment of a process does not change.
///
/// # Errors
/// The file cannot be read, or holds no password, or one that is too long.
pub fn from_file(file: &Path) -> Result<Secret, String> {
    read_password_file(file).and_then(bounded)
}

fn bounded(password: Vec<u8>) -> Result<Secret, String> {
    match password.len() {
        0..=PASSWORD_BYTES_MAX => Ok(Secret(password)),
        _ => Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")),
    }
}

/// The file without the line end that editors and `echo` put there.
fn read_password_file(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Bounded: a slip of the hand may name a device or a log.
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(format!("the password file {} is empty", file.display()));
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
    }

    #[test]
    fn it_is_not_shown() {
        assert!(!format!("{:?}", Secret(b"hunter2".to_vec())).contains("hunter2"));
    }
}
