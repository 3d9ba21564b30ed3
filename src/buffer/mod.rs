//! Memory for bytes on their way in and out of connections: one arena for each direction, and the rings over it.

pub mod arena;
pub mod ring;
