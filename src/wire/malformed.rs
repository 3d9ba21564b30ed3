//! Why a peer's bytes are no command: the reasons, their texts and their names.

/// Why the peer's bytes are no command: answer [`text`](Malformed::text) and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The number behind `*` is none, is spelt unlike the one way to spell it, or is too large.
    MultibulkLength,
    /// More arguments than a client may send before AUTH.
    UnauthenticatedMultibulkLength,
    /// The number behind `$` is none, is negative or is too large.
    BulkLength,
    /// A longer argument than a client may send before AUTH.
    UnauthenticatedBulkLength,
    /// An argument that does not begin with `$`.
    ExpectedDollar { got: u8 },
    /// An argument's bytes are not followed by CR and LF. Redis does not look.
    ExpectedCrlf,
    /// A line of text without an end.
    InlineTooBig,
    /// `*` and a line without an end.
    CountLineTooBig,
    /// `$` and a line without an end.
    BulkLineTooBig,
    /// A line of text with an open quote, or with more behind a closing one.
    UnbalancedQuotes,
    /// A line of an HTTP request: a page makes a browser speak to this port.
    CrossProtocol,
    /// The first byte of a TLS hello, which no command and no frame begins with.
    TlsHello,
}

impl Malformed {
    /// What follows `ERR Protocol error: ` in the answer, and a byte to be put behind it in front of a closing quote.
    /// `None`: close without an answer.
    #[must_use]
    pub const fn text(self) -> Option<(&'static str, Option<u8>)> {
        Some(match self {
            Malformed::MultibulkLength => ("invalid multibulk length", None),
            Malformed::UnauthenticatedMultibulkLength => ("unauthenticated multibulk length", None),
            Malformed::BulkLength => ("invalid bulk length", None),
            Malformed::UnauthenticatedBulkLength => ("unauthenticated bulk length", None),
            Malformed::ExpectedDollar { got } => ("expected '$', got '", Some(got)),
            Malformed::ExpectedCrlf => ("expected CRLF after bulk", None),
            Malformed::InlineTooBig => ("too big inline request", None),
            Malformed::CountLineTooBig => ("too big mbulk count string", None),
            Malformed::BulkLineTooBig => ("too big bulk count string", None),
            Malformed::UnbalancedQuotes => ("unbalanced quotes in request", None),
            Malformed::CrossProtocol | Malformed::TlsHello => return None,
        })
    }

    /// For counters and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::MultibulkLength => "multibulk_length",
            Malformed::UnauthenticatedMultibulkLength => "unauthenticated_multibulk_length",
            Malformed::BulkLength => "bulk_length",
            Malformed::UnauthenticatedBulkLength => "unauthenticated_bulk_length",
            Malformed::ExpectedDollar { .. } => "expected_dollar",
            Malformed::ExpectedCrlf => "expected_crlf",
            Malformed::InlineTooBig => "inline_too_big",
            Malformed::CountLineTooBig => "count_line_too_big",
            Malformed::BulkLineTooBig => "bulk_line_too_big",
            Malformed::UnbalancedQuotes => "unbalanced_quotes",
            Malformed::CrossProtocol => "cross_protocol",
            Malformed::TlsHello => "tls_hello",
        }
    }

    /// What the log says to the operator of the client, where the name of the reason is not enough.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Malformed::CrossProtocol => {
                Some("this looks like HTTP; probes and metrics are served by the admin port")
            }
            Malformed::TlsHello => Some("this looks like TLS; this port speaks RESP and frames without it"),
            _ => None,
        }
    }
}
