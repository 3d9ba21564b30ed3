//! What travels: encoders and decoders of the protocols. Hand-written, without I/O, resumable.

pub mod frame;
pub mod tag;
