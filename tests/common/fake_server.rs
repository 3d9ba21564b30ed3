//! A RESP server of a few lines for tests of clients: each request goes to a function that writes the answer, so that
//! it can say what no honest server would. Bounded in connections and time; loopback, port 0.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// What the server does about a request.
#[allow(dead_code)] // Each user of this file takes the ones that it needs.
pub enum Answer {
    Bytes(Vec<u8>),
    /// Say nothing and read on.
    Silence,
    /// Close the connection.
    Close,
}

/// Answers up to 64 connections, one after another; ends with the process.
pub fn fake_server(mut answer: impl FnMut(&[Vec<u8>]) -> Answer + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(64).flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut input = BufReader::new(stream);
            while let Some(request) = read_request(&mut input) {
                match answer(&request) {
                    Answer::Bytes(bytes) => input.get_mut().write_all(&bytes).unwrap_or(()),
                    Answer::Silence => {}
                    Answer::Close => break,
                }
            }
        }
    });
    address
}

/// `None` at the end of the stream or after 20 s.
fn read_request(input: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = read_length(input, '*')?;
    (0..count).map(|_| read_bulk(input)).collect()
}

fn read_bulk(input: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; read_length(input, '$')? + 2];
    input.read_exact(&mut bytes).ok()?;
    bytes.truncate(bytes.len() - 2);
    Some(bytes)
}

fn read_length(input: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}
