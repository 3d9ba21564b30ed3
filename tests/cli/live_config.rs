//! The example of a web service whose configuration is in Pannier, over stops and starts of the server.

use crate::common::{Server, command, eventually, free_port};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

#[path = "../../examples/live_config.rs"]
#[allow(dead_code)] // Its main is not run here.
mod example;

/// What the service says now.
fn shown(web: SocketAddr) -> String {
    let mut stream = TcpStream::connect(web).expect("the service listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

fn service(server: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let web = listener.local_addr().expect("bound");
    let settings = example::Settings::default();
    let (followed, server) = (Arc::clone(&settings), server.to_owned());
    std::thread::spawn(move || example::follow(&server, &followed));
    std::thread::spawn(move || example::serve(&listener, &settings));
    web
}

fn start(at: &str, flags: &[&str]) -> Server {
    let all = ["serve", "--tcp", at, "--udp", "off", "--admin", "off", "--memory", "64MiB"];
    let mut command = command();
    let mut server = Server::spawn(command.args(all).args(flags));
    server.address = at.parse().expect("an address");
    let answers =
        || TcpStream::connect(server.address).is_ok() && server.connect().line("PING") == b"+PONG\r\n";
    eventually("the server", answers);
    server
}

#[test]
fn a_service_follows_its_configuration_over_stops_of_the_server() {
    let at = format!("127.0.0.1:{}", free_port());
    // The service comes up first.
    let web = service(&at);
    assert_eq!(shown(web), "");
    let server = start(&at, &[]);
    assert_eq!(server.connect().line("SET config:a 1"), b"+OK\r\n");
    assert_eq!(server.connect().line("SET other 1"), b"+OK\r\n");
    eventually("the first setting", || shown(web) == "a=1\n");
    // Without a server it goes on with what it knew.
    drop(server);
    assert_eq!(shown(web), "a=1\n");
    // Another one knows nothing: what it has is what counts.
    let server = start(&at, &[]);
    assert_eq!(server.connect().line("SET config:b 2"), b"+OK\r\n");
    eventually("the settings of the new server", || shown(web) == "b=2\n");
    assert_eq!(server.connect().line("DEL config:b"), b":1\r\n");
    eventually("it to be gone", || shown(web).is_empty());
}

#[test]
fn a_service_goes_on_where_it_was_with_a_server_that_remembers() {
    let dir = std::env::temp_dir().join(format!("pannier-live-config-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let at = format!("127.0.0.1:{}", free_port());
    let flags = ["--data-dir", dir.to_str().expect("text")];
    let mut server = start(&at, &flags);
    let web = service(&at);
    assert_eq!(server.connect().line("SET config:a 1"), b"+OK\r\n");
    eventually("the first setting", || shown(web) == "a=1\n");
    for round in 2..5 {
        server.signal("TERM");
        assert!(server.wait().success());
        assert!(shown(web).starts_with("a="), "it goes on with what it knew");
        server = start(&at, &flags);
        assert_eq!(server.connect().line(&format!("SET config:a {round}")), b"+OK\r\n");
        eventually("the change", || shown(web) == format!("a={round}\n"));
    }
    drop(server);
    let _ = std::fs::remove_dir_all(&dir);
}
