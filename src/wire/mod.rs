//! What goes over the wire, as bytes in memory: decoders and encoders without sockets and clocks.
//!
//! | file | what lives there |
//! |---|---|
//! | `number` | integers and doubles as text; shared with the client library |
//! | `long_double` | the sums of INCRBYFLOAT |
//! | `arguments` | a command's arguments, as places in the bytes that carry it |
//! | `resp` | the resumable decoder of RESP commands |
//! | `quick` | a stateless decoder of the most common commands, for looking ahead |
//! | `inline` | commands typed as a line of text |
//! | `malformed` | why bytes are no command |
//! | `encode` | replies |
//! | `output` | what waits to be sent on one connection: replies, and large values uncopied |
//! | `frame` | checked frames of the datagram protocol, over UDP and TCP; shared with the client library |
//! | `tag` | a frame's proof of the password; shared with the client library |
//! | `rdb`, `packed`, `lzf`, `crc64` | values as DUMP and RESTORE have them |
//! | `glob` | the patterns of KEYS, SCAN and CONFIG GET |

#[cfg(feature = "server")]
pub mod arguments;
#[cfg(feature = "server")]
pub mod crc64;
#[cfg(feature = "server")]
pub mod encode;
#[cfg(any(feature = "server", feature = "client"))]
pub mod frame;
#[cfg(feature = "server")]
pub mod glob;
#[cfg(feature = "server")]
pub mod inline;
#[cfg(feature = "server")]
pub mod long_double;
#[cfg(feature = "server")]
pub mod lzf;
#[cfg(feature = "server")]
pub mod malformed;
pub mod number;
#[cfg(feature = "server")]
pub mod output;
#[cfg(feature = "server")]
pub mod packed;
#[cfg(feature = "server")]
pub mod quick;
#[cfg(feature = "server")]
pub mod rdb;
#[cfg(feature = "server")]
pub mod resp;
#[cfg(any(feature = "server", feature = "client"))]
pub mod tag;
