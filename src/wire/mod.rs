//! What goes over the wire, as bytes in memory: decoders and encoders without sockets and clocks.
//!
//! | file | what lives there |
//! |---|---|
//! | `number` | integers and doubles as text; shared with the client library |
//! | `arguments` | a command's arguments, as places in the bytes that carry it |
//! | `resp` | the resumable decoder of RESP commands |
//! | `inline` | commands typed as a line of text |
//! | `encode` | replies, and the output of a connection that they wait in |
//! | `glob` | the patterns of KEYS, SCAN and CONFIG GET |

#[cfg(feature = "server")]
pub mod arguments;
#[cfg(feature = "server")]
pub mod encode;
#[cfg(feature = "server")]
pub mod glob;
#[cfg(feature = "server")]
pub mod inline;
pub mod number;
#[cfg(feature = "server")]
pub mod resp;
