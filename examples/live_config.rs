//! A web service that takes its configuration from Pannier and follows it live: a change is there within milliseconds,
//! and an outage of the server leaves the service with what it knew last.
//!
//!     pannier serve &
//!     cargo run --example live_config -- 127.0.0.1:7878 127.0.0.1:8080
//!     pannier put config:greeting hello
//!     curl http://127.0.0.1:8080/
//!
//! How it stays right: a watch on the prefix begins first, then all keys are read, and each change that arrives has its key read
//! again. After a lost connection the watch goes on behind the last change that it reported; where the server no longer knows
//! what happened since, everything is read again.

use pannier::client::{Client, Error, PrefixWatch, WatchEvent};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

const PREFIX: &[u8] = b"config:";
/// How long the service waits for a change before it looks whether something is left to be read.
const WAIT: Duration = Duration::from_millis(500);
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration as it was last heard, for every thread of the service.
pub type Settings = Arc<RwLock<BTreeMap<String, String>>>;

/// Follows the configuration for as long as the process lives.
pub fn follow(server: &str, settings: &Settings) -> ! {
    loop {
        // The server may come up later than the service.
        let builder = Client::builder().connect_timeout(READ_TIMEOUT).call_timeout(READ_TIMEOUT);
        match builder.connect(server) {
            Ok(client) => {
                let watch = client.watch_prefix(PREFIX, None);
                let error = Follower { client, watch, settings, is_behind: true }.run();
                eprintln!("configuration: {error}");
            }
            Err(error) => eprintln!("configuration: {error}"),
        }
        thread::sleep(WAIT);
    }
}

struct Follower<'s> {
    client: Client,
    watch: PrefixWatch,
    settings: &'s Settings,
    /// Something has changed that could not be read yet.
    is_behind: bool,
}

impl Follower<'_> {
    /// Returns what no new connection mends.
    fn run(&mut self) -> Error {
        loop {
            let read = match self.watch.next(WAIT) {
                Ok(None) if self.is_behind => self.read_all(),
                // A watch that was compacted begins again by itself, and says so.
                Ok(None | Some(WatchEvent::Compacted)) => continue,
                Ok(Some(WatchEvent::Changed { key, .. })) if !key.is_empty() => self.read_one(&key),
                Ok(Some(_)) => self.read_all(),
                Err(error) => return error,
            };
            self.is_behind = read.is_err();
            if let Err(error) = read {
                eprintln!("configuration: {error}");
            }
        }
    }

    fn read_one(&mut self, key: &[u8]) -> Result<(), Error> {
        if self.is_behind {
            return self.read_all();
        }
        let value = self.client.get(key)?;
        let name = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
        let mut settings = self.settings.write().expect("no thread has panicked with it");
        match value {
            Some(value) => settings.insert(name, String::from_utf8_lossy(&value).into_owned()),
            None => settings.remove(&name),
        };
        Ok(())
    }

    fn read_all(&mut self) -> Result<(), Error> {
        let keys: Vec<Vec<u8>> = self.client.scan(Some(b"config:*"), 100).collect::<Result<_, _>>()?;
        let mut read = BTreeMap::new();
        for key in keys {
            if let Some(value) = self.client.get(&key)? {
                let name = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
                read.insert(name, String::from_utf8_lossy(&value).into_owned());
            }
        }
        *self.settings.write().expect("no thread has panicked with it") = read;
        Ok(())
    }
}

/// Answers every request with the configuration, a line each.
pub fn serve(listener: &TcpListener, settings: &Settings) {
    for stream in listener.incoming().flatten() {
        let settings = Arc::clone(settings);
        thread::spawn(move || answer(&stream, &settings));
    }
}

fn answer(mut stream: &TcpStream, settings: &Settings) {
    let _ = stream.set_read_timeout(Some(READ_TIMEOUT));
    for line in BufReader::new(stream).lines().take(100) {
        match line {
            Ok(line) if line.is_empty() => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    let settings = settings.read().expect("no thread has panicked with it").clone();
    let body: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7878".into());
    let listener = TcpListener::bind(arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into()))?;
    let settings = Settings::default();
    let followed = Arc::clone(&settings);
    thread::spawn(move || follow(&server, &followed));
    serve(&listener, &settings);
    Ok(())
}
