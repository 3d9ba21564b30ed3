//! As much of HTTP/1.1 as a probe and a scraper need: one GET or HEAD, one reply, and the connection is closed.

use super::Reply;
use std::fmt::{self, Write};

/// Bytes of a request's head, at most.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Header lines of a request, at most.
pub const REQUEST_HEADERS_MAX: usize = 64;

/// A request as far as it matters.
pub(super) struct Request<'a> {
    /// Without the query.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: Option<&'a str>,
    pub headers: &'a [httparse::Header<'a>],
    /// Whether the reply has a body: not to HEAD.
    pub with_body: bool,
}

/// The statuses that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    Internal,
    Unavailable,
}

impl Status {
    /// Code and reason, as the status line has them.
    pub(super) const fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Internal => "500 Internal Server Error",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Plain,
    Metrics,
    Json,
    Page,
}

/// What `/` answers.
pub(super) const PAGE: &str = include_str!("page.html");

/// What the page may do: run its own script and style, known by their hashes, and ask this server.
const PAGE_POLICY: &str = "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; \
    script-src 'sha256-dyAZ1Rohl5q1fgPBOjGJ7D5EkOU5WJwTbSjpjsi9VMA='; \
    style-src 'sha256-UiCMXE8tCdfQuDYZpnsea/hBS2lvFh6usVa0e0p9nf8='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n";

impl Content {
    const fn kind(self) -> &'static str {
        match self {
            Content::Plain => "text/plain; charset=utf-8",
            Content::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Content::Json => "application/json",
            Content::Page => "text/html; charset=utf-8",
        }
    }

    /// Header lines of its own.
    const fn headers(self) -> &'static str {
        match self {
            Content::Plain | Content::Metrics | Content::Json => "",
            Content::Page => PAGE_POLICY,
        }
    }
}

/// Reads a head. `None`: it is not whole.
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    headers: &'a mut [httparse::Header<'a>],
) -> Result<Option<Request<'a>>, Status> {
    let mut request = httparse::Request::new(headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= REQUEST_BYTES_MAX => {
            return Err(Status::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Status::BadRequest);
    };
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Status::MethodNotAllowed),
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Ok(Some(Request { path, query, headers: request.headers, with_body }))
}

/// Makes a reply of a line or a few.
pub(super) fn plain(reply: &mut Reply, status: Status, text: fmt::Arguments<'_>, with_body: bool) {
    reply.clear();
    // Both are far shorter than what is reserved for them.
    let _ = writeln!(reply.body, "{text}");
    let _ = head(reply, status, Content::Plain, with_body);
}

/// Makes a reply of the page.
pub(super) fn page(reply: &mut Reply, with_body: bool) {
    let written = reply.body.write_str(PAGE);
    finish(reply, written, Content::Page, with_body);
}

/// Puts the head to a body that was written, or not.
pub(super) fn finish(reply: &mut Reply, written: fmt::Result, content: Content, with_body: bool) {
    if written.and_then(|()| head(reply, Status::Ok, content, with_body)).is_err() {
        let text = format_args!("the reply outgrew the memory that is reserved for it");
        plain(reply, Status::Internal, text, with_body);
    }
}

fn head(reply: &mut Reply, status: Status, content: Content, with_body: bool) -> fmt::Result {
    let of_status = match status {
        Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
        // Basic first: it is the one for which browsers ask their user.
        Status::Unauthorized => {
            "WWW-Authenticate: Basic realm=\"Pannier: the token is the password\", charset=\"UTF-8\"\r\n\
             WWW-Authenticate: Bearer\r\n"
        }
        _ => "",
    };
    write!(
        reply.head,
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{of_status}{}Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        status.line(),
        content.kind(),
        reply.body.as_bytes().len(),
        content.headers(),
    )?;
    if !with_body {
        reply.body.0.clear();
    }
    Ok(())
}
