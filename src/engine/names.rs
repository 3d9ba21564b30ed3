//! The names that clients give themselves, in a table apart from their sessions: a row for each client that has any, so
//! that the many that have none cost nothing.

use crate::reply::ErrorKind;
use slab::Slab;

/// Bytes of all names of a client together: connection, library, version of the library.
pub const NAMES_BYTES_MAX: usize = 128;

/// One of a client's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// CLIENT SETNAME, HELLO SETNAME.
    Connection,
    /// CLIENT SETINFO lib-name.
    Library,
    /// CLIENT SETINFO lib-ver.
    LibraryVersion,
}

/// Which row a client has, if any. The row of a client that goes is given back ([`Names::release`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Row(Option<u32>);

/// The names of one client, one after the other in one fixed area.
struct Area {
    lens: [u8; 3],
    bytes: [u8; NAMES_BYTES_MAX],
}

impl Area {
    fn range(&self, name: Name) -> (usize, usize) {
        let start = self.lens[..name as usize].iter().map(|len| usize::from(*len)).sum();
        (start, start + usize::from(self.lens[name as usize]))
    }
}

/// The names of all clients.
pub struct Names {
    rows: Slab<Area>,
}

impl Names {
    /// Bytes that a client with names costs.
    pub const CLIENT_BYTES: usize = size_of::<Area>() + size_of::<usize>();

    /// Room for so many clients; memory is reserved at once and touched as rows come into use.
    #[must_use]
    pub fn new(clients_max: usize) -> Names {
        Names { rows: Slab::with_capacity(clients_max) }
    }

    /// A name, empty if there is none.
    #[must_use]
    pub fn get(&self, row: Row, name: Name) -> &[u8] {
        let Some(area) = row.0.and_then(|row| self.rows.get(row as usize)) else { return b"" };
        let (start, end) = area.range(name);
        &area.bytes[start..end]
    }

    /// Gives or (empty) takes a name.
    ///
    /// # Errors
    /// The name holds blanks or control characters, or the area is too small for it. The texts are those for the
    /// connection's name.
    pub fn set(&mut self, row: &mut Row, name: Name, value: &[u8]) -> Result<(), ErrorKind> {
        if !value.iter().all(u8::is_ascii_graphic) {
            return Err(ErrorKind::ClientName);
        }
        if value.len() > NAMES_BYTES_MAX {
            return Err(ErrorKind::ClientNameTooLong);
        }
        if row.0.is_none() && value.is_empty() {
            return Ok(());
        }
        let rows = &mut self.rows;
        let index = *row
            .0
            .get_or_insert_with(|| rows.insert(Area { lens: [0; 3], bytes: [0; NAMES_BYTES_MAX] }) as u32);
        let area = &mut rows[index as usize];
        let (start, end) = area.range(name);
        let used: usize = area.lens.iter().map(|len| usize::from(*len)).sum();
        if used - (end - start) + value.len() > NAMES_BYTES_MAX {
            return Err(ErrorKind::ClientNameTooLong);
        }
        area.bytes.copy_within(end..used, start + value.len());
        area.bytes[start..start + value.len()].copy_from_slice(value);
        area.lens[name as usize] = value.len() as u8;
        Ok(())
    }

    /// Forgets all names of a client.
    pub fn release(&mut self, row: &mut Row) {
        if let Some(row) = row.0.take() {
            self.rows.remove(row as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_one_area() {
        let (mut names, mut row) = (Names::new(2), Row::default());
        names.set(&mut row, Name::Library, b"redis-py").unwrap();
        names.set(&mut row, Name::LibraryVersion, b"5.0.1").unwrap();
        names.set(&mut row, Name::Connection, b"worker").unwrap();
        assert_eq!(names.get(row, Name::Connection), b"worker");
        assert_eq!(names.get(row, Name::Library), b"redis-py");
        assert_eq!(names.get(row, Name::LibraryVersion), b"5.0.1");
        names.set(&mut row, Name::Library, b"").unwrap();
        assert_eq!(names.get(row, Name::Library), b"");
        assert_eq!(names.get(row, Name::LibraryVersion), b"5.0.1");
        assert_eq!(names.set(&mut row, Name::Library, &[b'x'; 118]), Err(ErrorKind::ClientNameTooLong));
        assert_eq!(names.set(&mut row, Name::Library, &[b'x'; 129]), Err(ErrorKind::ClientNameTooLong));
        names.set(&mut row, Name::Library, &[b'x'; 117]).unwrap();
        assert_eq!(names.get(row, Name::LibraryVersion), b"5.0.1");
        assert_eq!(names.set(&mut row, Name::Library, b"a b"), Err(ErrorKind::ClientName));
    }

    #[test]
    fn a_row_is_taken_by_the_first_name_and_given_back() {
        let (mut names, mut one, mut other) = (Names::new(2), Row::default(), Row::default());
        names.set(&mut one, Name::Connection, b"").unwrap();
        assert_eq!(names.rows.len(), 0);
        names.set(&mut one, Name::Connection, b"one").unwrap();
        names.set(&mut other, Name::Connection, b"other").unwrap();
        names.release(&mut one);
        names.release(&mut one);
        assert_eq!(names.rows.len(), 1);
        assert_eq!(
            (names.get(one, Name::Connection), names.get(other, Name::Connection)),
            (&b""[..], &b"other"[..])
        );
    }
}
