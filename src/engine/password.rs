//! The password that AUTH is compared with.

use crate::limits::PASSWORD_BYTES_MAX;

/// A password, compared in a time that says nothing about it.
pub(super) struct Password {
    bytes: [u8; PASSWORD_BYTES_MAX],
    len: usize,
}

impl Password {
    /// # Panics
    /// If the password is longer than [`PASSWORD_BYTES_MAX`].
    pub(super) fn new(password: &[u8]) -> Password {
        let mut bytes = [0; PASSWORD_BYTES_MAX];
        bytes[..password.len()].copy_from_slice(password);
        Password { bytes, len: password.len() }
    }

    /// Whether `given` is the password. Always looks at [`PASSWORD_BYTES_MAX`] bytes of both, and never stops early.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let mut padded = [0; PASSWORD_BYTES_MAX];
        let len = given.len().min(PASSWORD_BYTES_MAX);
        padded[..len].copy_from_slice(&given[..len]);
        let mut difference = u64::from(given.len() as u64 != self.len as u64);
        for (a, b) in self.bytes.iter().zip(&padded) {
            difference |= u64::from(std::hint::black_box(a ^ b));
        }
        std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_the_password() {
        let password = Password::new(b"secret");
        assert!(password.is(b"secret"));
        for given in [b"secre" as &[u8], b"secret\0", b"Secret", b"", &[0; 600]] {
            assert!(!password.is(given));
        }
    }
}
