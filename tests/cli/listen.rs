//! `pannier publish`, `subscribe` and `watch` against a server, over its restart too.

use crate::common::{Server, command, eventually, free_port};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A command that runs, and what it has printed.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (pipe, seen) = (child.stdout.take().expect("piped"), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                seen.lock().expect("lock").push(line);
            }
        });
        Running { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("lock").clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(command: &mut Command) -> String {
    String::from_utf8(command.output().expect("run").stdout).expect("text")
}

#[test]
fn what_is_published_is_printed() {
    let server = Server::start(&[]);
    let at = server.address.to_string();
    let plain = Running::start(&["subscribe", "news", "--count", "2", "--server", &at]);
    let json = Running::start(&["subscribe", "--patterns", "n*", "--json", "--server", &at]);
    let publish = |text: &str| output(command().args(["publish", "news", text, "--server", &at]));
    // Asked, not tried: the first counts what it gets.
    eventually("both to be subscribed", || {
        let mut asker = server.connect();
        asker.line("PUBSUB NUMSUB news").ends_with(b":1\r\n") && asker.line("PUBSUB NUMPAT") == b":1\r\n"
    });
    assert_eq!(server.connect().line("PUBLISH news hello"), b":2\r\n");
    assert_eq!(publish("a \u{1}"), "2\n");
    eventually("both messages", || plain.lines().len() == 2 && json.lines().len() >= 2);
    assert_eq!(plain.lines()[1], "news a \\u{1}");
    assert!(json.lines().iter().any(|line| line == r#"{"channel":"news","message":"hello"}"#));
    eventually("the first to have ended", || publish("x") == "1\n");
}

#[test]
fn a_watch_goes_on_over_a_lost_connection_and_says_where_it_cannot() {
    let port = free_port().to_string();
    let at = format!("127.0.0.1:{port}");
    let flags = ["serve", "--tcp", &at, "--udp", "off", "--admin", "off", "--memory", "64MiB"];
    let start = || {
        let mut command = command();
        let mut server = Server::spawn(command.args(flags));
        server.address = at.parse().expect("an address");
        eventually("the server", || std::net::TcpStream::connect(server.address).is_ok());
        server
    };
    let server = start();
    let watch = Running::start(&["watch", "config:", "--server", &at]);
    eventually("the watch to begin", || watch.lines().first().is_some_and(|line| line.ends_with(" begun")));
    let mut client = server.connect();
    assert_eq!(client.line("SET config:a 1"), b"+OK\r\n");
    assert_eq!(client.line("SET other 1"), b"+OK\r\n");
    eventually("the change", || watch.lines().iter().any(|line| line.ends_with(" set config:a")));
    // The connection is cut; what happens meanwhile comes later.
    assert!(client.line("CLIENT KILL TYPE normal SKIPME yes").starts_with(b":"));
    assert_eq!(client.line("SET config:b 1"), b"+OK\r\n");
    eventually("the change meanwhile", || watch.lines().iter().any(|line| line.ends_with(" set config:b")));
    assert_eq!(watch.lines().len(), 3, "nothing twice: {:?}", watch.lines());
    // Another run of the server knows nothing of that.
    drop(client);
    drop(server);
    let server = start();
    eventually("it to say so", || watch.lines().iter().any(|line| line == "- compacted"));
    eventually("it to begin again", || watch.lines().last().is_some_and(|line| line.ends_with(" begun")));
    assert_eq!(server.connect().line("SET config:c 1"), b"+OK\r\n");
    eventually("the change after", || watch.lines().iter().any(|line| line.ends_with(" set config:c")));
}
