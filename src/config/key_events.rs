//! Which events of keys are published: Redis's `notify-keyspace-events`, a letter for each class.

use std::fmt;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $letter:literal, $bit:literal;)*) => {
        impl KeyEvents {
            $($(#[$doc])* pub const $name: KeyEvents = KeyEvents(1 << $bit);)*

            /// Every class by its letter, in the order in which Redis shows them.
            const LETTERS: &'static [(u8, KeyEvents)] = &[$(($letter, KeyEvents::$name),)*];
        }
    };
}

/// A set of classes, and the two kinds of channels; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyEvents(u16);

classes! {
    /// del, expire, rename, copy and what else is the same for every type.
    GENERIC = b'g', 0;
    STRING = b'$', 1;
    LIST = b'l', 2;
    SET = b's', 3;
    HASH = b'h', 4;
    SORTED_SET = b'z', 5;
    EXPIRED = b'x', 6;
    EVICTED = b'e', 7;
    STREAM = b't', 8;
    MODULE = b'd', 9;
    /// A key that was not there.
    NEW = b'n', 10;
    /// The channels `__keyspace@<db>__:<key>`, which tell the event.
    KEYSPACE = b'K', 11;
    /// The channels `__keyevent@<db>__:<event>`, which tell the key.
    KEYEVENT = b'E', 12;
    /// A read of a key that is not there.
    MISS = b'm', 13;
}

impl KeyEvents {
    /// The classes that `A` stands for: all but `n` and `m`.
    const ALL: KeyEvents = KeyEvents(0x3ff);

    /// Reads a list of letters. `None`: one of them is no class.
    #[must_use]
    pub fn parse(letters: &[u8]) -> Option<KeyEvents> {
        letters.iter().try_fold(KeyEvents::default(), |events, letter| {
            let class = match letter {
                b'A' => KeyEvents::ALL,
                letter => KeyEvents::LETTERS.iter().find(|(known, _)| known == letter)?.1,
            };
            Some(KeyEvents(events.0 | class.0))
        })
    }

    /// Whether one of these classes is among them.
    #[must_use]
    pub const fn has(self, class: KeyEvents) -> bool {
        self.0 & class.0 != 0
    }

    /// Whether anything is published: a class, and a kind of channel.
    #[must_use]
    pub const fn is_on(self) -> bool {
        let channels = KeyEvents::KEYSPACE.0 | KeyEvents::KEYEVENT.0;
        self.0 & channels != 0 && self.0 & !channels != 0
    }
}

/// As Redis shows them: `A` where all of its classes are there, and `n` only where not.
impl fmt::Display for KeyEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_all = self.0 & KeyEvents::ALL.0 == KeyEvents::ALL.0;
        if is_all {
            formatter.write_str("A")?;
        }
        let hidden = KeyEvents(if is_all { KeyEvents::ALL.0 | KeyEvents::NEW.0 } else { 0 });
        for (letter, class) in KeyEvents::LETTERS {
            if self.has(*class) && !hidden.has(*class) {
                fmt::Write::write_char(formatter, char::from(*letter))?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for KeyEvents {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyEvents, String> {
        KeyEvents::parse(text.as_bytes()).ok_or_else(|| {
            format!("'{text}' has a letter that is no class of events; the classes are Ag$lshzxeKEtmdn, as in KEA or Ex")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_as_redis_shows_them() {
        let shown = |letters: &str| letters.parse::<KeyEvents>().map(|events| events.to_string());
        for (letters, expected) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKEn", "AKE"),
            ("Ex", "xE"),
            ("Kg$", "g$K"),
            ("KElshzxg$etdnm", "AKEm"),
            ("AKm", "AKm"),
            ("n", "n"),
        ] {
            assert_eq!(shown(letters).as_deref(), Ok(expected), "{letters}");
        }
        assert!(shown("KEb").is_err_and(|text| text.contains("KEA")));
    }

    #[test]
    fn a_class_without_a_channel_and_a_channel_without_a_class_are_nothing() {
        let is_on = |letters: &[u8]| KeyEvents::parse(letters).is_some_and(KeyEvents::is_on);
        assert!(is_on(b"Ex") && is_on(b"KA") && is_on(b"Km"));
        assert!(!is_on(b"") && !is_on(b"KE") && !is_on(b"A"));
    }
}
