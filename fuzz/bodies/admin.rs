//! HTTP of the admin port.

use super::script::Script;
use super::server::{NOW, new_server};
use pannier::admin::{Access, Context, History, REQUEST_BYTES_MAX, Readiness, Reply, Step, Token, respond};
use pannier::server::Server;
use std::cell::RefCell;

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        server: new_server(0),
        history: History::new(),
        open: Access::new(([127, 0, 0, 1], 7879).into(), None),
        guarded: Access::new(([0, 0, 0, 0], 7879).into(), Token::new(b"0123456789abcdef").ok()),
    });
}

struct State {
    server: Server,
    history: History,
    open: Access,
    guarded: Access,
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let switches = script.byte();
    let readiness = match switches & 3 {
        0 | 1 => Readiness::Ready,
        2 => Readiness::Draining { connections: 3 },
        _ => Readiness::UdpFails { error: "out of it", times: 7 },
    };
    let cut = script.number();
    let request = script.rest();
    // More is never read before an answer.
    let request = &request[..request.len().min(REQUEST_BYTES_MAX)];
    STATE.with_borrow_mut(|State { server, history, open, guarded }| {
        let access = if switches & 4 == 0 { open } else { guarded };
        let context = &mut Context { server, history, access, readiness, now: NOW };
        let early = ask(&request[..cut.min(request.len())], context);
        let whole = ask(request, context);
        if let Some(early) = early {
            // What is answered before the rest has come is answered so with it.
            assert_eq!(whole.as_ref().map(|reply| reply.0.clone()), Some(early.0));
        }
        assert!(whole.is_some() || request.len() < REQUEST_BYTES_MAX);
    });
}

/// Status line and body, of a reply that is what HTTP wants it to be.
fn ask(request: &[u8], context: &mut Context<'_>) -> Option<(String, String)> {
    let mut reply = Reply::new();
    if respond(request, context, &mut reply) == Step::NeedMore {
        return None;
    }
    let head = std::str::from_utf8(reply.head.as_bytes()).expect("a head is text");
    let body = std::str::from_utf8(reply.body.as_bytes()).expect("a body is text");
    let (head, behind) = head.split_once("\r\n\r\n").expect("a head has an end");
    assert_eq!(behind, "");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line");
    assert!(status.starts_with("HTTP/1.1 "), "{status}");
    let length = lines.clone().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
    let to_head = request.trim_ascii_start().starts_with(b"HEAD ");
    assert!(body.len() == length || (to_head && body.is_empty()));
    assert!(lines.all(|line| line.split_once(": ").is_some()));
    Some((status.to_owned(), body.to_owned()))
}
