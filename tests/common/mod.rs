//! What the tests over real sockets share: a spawned server that dies with its owner, a client that reads one raw
//! reply at a time, and waits that end. Nothing here is a benchmark, and every wait has a bound.
//!
//! `PANNIER_BINARY` names another binary to test than the one cargo has built.
#![allow(clippy::disallowed_methods)] // Tests over real sockets wait by a real clock.
#![allow(dead_code)] // Each test binary uses its own part of this file.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it: far longer than it takes, so that a loaded machine passes.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("PANNIER_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pannier")), PathBuf::from)
}

/// A run of the binary without what the tests themselves are set up by: `serve` refuses names that it does not know.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    forget_variables(&mut command);
    command
}

fn forget_variables(command: &mut Command) {
    let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("PANNIER_");
    for name in std::env::vars_os().map(|(name, _)| name).filter(ours) {
        command.env_remove(name);
    }
}

/// Asks `condition` again and again until it holds.
///
/// # Panics
/// After [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

impl Server {
    /// `pannier serve` on a free port with 64 MiB, UDP and admin off, and `flags` behind.
    pub fn start(flags: &[&str]) -> Server {
        Server::start_by(Command::new(binary()), flags)
    }

    /// The same, run under a shell's `ulimit -n` of `descriptors`.
    pub fn start_with_descriptors(descriptors: u32, flags: &[&str]) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$@\""), "sh"]).arg(binary());
        Server::start_by(shell, flags)
    }

    /// The same, as a child of the command `wrapper`, which runs what its last arguments say.
    pub fn start_under(mut wrapper: Command, flags: &[&str]) -> Server {
        wrapper.arg(binary());
        Server::start_by(wrapper, flags)
    }

    fn start_by(mut command: Command, flags: &[&str]) -> Server {
        forget_variables(&mut command);
        command.args(["serve", "--tcp", "127.0.0.1:0"]);
        if !flags.contains(&"--admin") {
            command.args(["--admin", "off"]);
        }
        if !flags.contains(&"--udp") {
            command.args(["--udp", "off"]);
        }
        if !flags.contains(&"--memory") {
            command.args(["--memory", "64MiB"]);
        }
        let mut server = Server::spawn(command.args(flags));
        let mut bound = None;
        eventually("the server to say where it listens", || {
            if let Some(status) = server.child.try_wait().expect("wait") {
                panic!("the server ended with {status}: {}", server.stderr());
            }
            bound = bound_address(&server.stderr(), "tcp=");
            bound.is_some()
        });
        server.address = bound.expect("just seen");
        server
    }

    /// Debian's `redis-server`, or None where it is not installed.
    pub fn redis() -> Option<Server> {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--dir", &std::env::temp_dir().to_string_lossy()]);
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().ok()?;
        let mut server = Server::spawn(&mut command);
        server.address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("redis-server", || TcpStream::connect(server.address).is_ok());
        Some(server)
    }

    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, lines) = (child.stderr.take().expect("piped"), Arc::clone(&stderr));
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = writeln!(lines.lock().expect("lock"), "{line}");
            }
        });
        Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), stderr }
    }

    /// What the server has logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("lock").clone()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Where the server listens for datagrams, if it was started with `--udp`.
    pub fn udp_address(&self) -> SocketAddr {
        bound_address(&self.stderr(), "udp=").expect("the address of UDP is logged")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The id that the server itself logs: another one than `pid` under a wrapper that stays.
    pub fn logged_pid(&self) -> u32 {
        let log = self.stderr();
        let (_, rest) = log.split_once("(pid ").expect("the id is logged");
        rest.split(')').next().and_then(|pid| pid.parse().ok()).expect("a number")
    }

    /// Bytes of the process that are in memory now.
    pub fn resident_bytes(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("statm");
        let pages: usize =
            statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("resident pages");
        pages * 4096
    }

    /// Where the admin port is, of a server that was started with one.
    ///
    /// # Panics
    /// If it has none.
    pub fn admin_address(&self) -> SocketAddr {
        bound_address(&self.stderr(), "admin=").expect("--admin was given")
    }

    /// Descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("fd").count()
    }

    /// Nanoseconds of CPU time that the process has used.
    pub fn cpu_ns(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).expect("schedstat");
        stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("ns")
    }

    /// Sends a signal by name, "TERM" for one.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server to end", || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("just seen")
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.stderr();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the server at {} logged at last:", self.address);
            last.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// The address behind the first `label` of a log, `tcp=` for one.
fn bound_address(log: &str, label: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(label)?;
    // A line is only whole with its end.
    let (line, _) = rest.split_once('\n')?;
    line.split(|c: char| c.is_whitespace() || c == ',' || c == '"').next()?.parse().ok()
}

/// A client that speaks raw bytes and reads raw replies.
pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("set a time limit");
        stream.set_nodelay(true).expect("nodelay");
        Client { stream, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends what the server may already have stopped to listen to.
    pub fn send_if_open(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one command as an array of bulks and returns its raw reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        self.send(&encode(args));
        self.reply()
    }

    /// Sends an inline command of words and returns its raw reply.
    pub fn line(&mut self, line: &str) -> Vec<u8> {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// The next whole raw reply.
    ///
    /// # Panics
    /// When the server closes first, or after [`PATIENCE`].
    pub fn reply(&mut self) -> Vec<u8> {
        self.try_reply().unwrap_or_else(|| panic!("closed after {:?}", show(&self.received)))
    }

    /// The next whole raw reply; None when the server closes first.
    pub fn try_reply(&mut self) -> Option<Vec<u8>> {
        self.reply_within_limit().unwrap_or_else(|error| panic!("{error} after {}", show(&self.received)))
    }

    /// The next whole raw reply; None when the server closes first, an error when the stream's time limit passes.
    pub fn reply_within_limit(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(len) = reply_len(&self.received) {
                return Ok(Some(self.received.drain(..len).collect()));
            }
            if !self.receive(want(&self.received))? {
                return Ok(None);
            }
        }
    }

    /// All bytes until the server closes; a reset counts as a close.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.receive(64 * KIB).unwrap_or_else(|error| panic!("{error} after {}", show(&self.received)))
        {
        }
        std::mem::take(&mut self.received)
    }

    /// Whether the server has closed this connection; waits for it to happen.
    pub fn is_closed_silently(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Reads once, at most `at_most` bytes; false at the end of the stream.
    fn receive(&mut self, at_most: usize) -> io::Result<bool> {
        let old_len = self.received.len();
        self.received.resize(old_len + at_most, 0);
        let outcome = self.stream.read(&mut self.received[old_len..]);
        self.received.truncate(old_len + *outcome.as_ref().unwrap_or(&0));
        match outcome {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// No more will be sent; replies may still come.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }
}

/// How much to read next: all that a large bulk still lacks, so that it is not looked at again and again.
fn want(received: &[u8]) -> usize {
    let announced = match received.first() {
        Some(b'$') => line(received, 1).and_then(|(n, _)| usize::try_from(n).ok()).unwrap_or(0),
        _ => 0,
    };
    (announced + 16).saturating_sub(received.len()).clamp(16 * KIB, 4 * MIB)
}

/// A command as RESP's array of bulks.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        bytes.extend_from_slice(arg.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Length of the whole reply at the start of `bytes`, or None while it is incomplete.
///
/// # Panics
/// On bytes that are no RESP.
pub fn reply_len(bytes: &[u8]) -> Option<usize> {
    // A count of what is still to come instead of recursion.
    let (mut at, mut remaining) = (0, 1u64);
    while remaining > 0 {
        remaining -= 1;
        let kind = *bytes.get(at)?;
        match kind {
            b'$' | b'=' | b'!' => {
                let (count, end) = line(bytes, at + 1)?;
                at = if count < 0 { end } else { end + usize::try_from(count).expect("length") + 2 };
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let (count, end) = line(bytes, at + 1)?;
                let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                remaining += u64::try_from(count).unwrap_or(0) * each;
                // An attribute stands before the reply that it belongs to.
                remaining += u64::from(kind == b'|');
                at = end;
            }
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => at = line_end(bytes, at)?,
            other => panic!("no RESP: byte {other} at {at} of {}", show(bytes)),
        }
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}

fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n").map(|offset| at + offset + 2)
}

/// The number from `at` to the end of the line, and where the next line begins.
fn line(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let end = line_end(bytes, at)?;
    let text = std::str::from_utf8(&bytes[at..end - 2]).expect("a count");
    Some((text.parse().unwrap_or_else(|_| panic!("a count: {text:?}")), end))
}

/// Bytes for people: printable ASCII as it is, the rest escaped, the middle of long ones left out.
pub fn show(bytes: &[u8]) -> String {
    if bytes.len() > 600 {
        return format!(
            "{}…({} bytes)…{}",
            show(&bytes[..300]),
            bytes.len(),
            show(&bytes[bytes.len() - 100..])
        );
    }
    bytes.escape_ascii().to_string()
}

/// A small seeded generator (splitmix64), so that a run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Raises this process's own limit of descriptors (children inherit it); false where that is not allowed.
pub fn raise_descriptor_limit(descriptors: u32) -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let soft = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3).map(|soft| soft.parse().unwrap_or(u32::MAX)));
    if soft.is_some_and(|soft| soft >= descriptors) {
        return true;
    }
    // util-linux's prlimit keeps the system call, which is unsafe in Rust, out of this file.
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, &format!("--nofile={descriptors}:")]).status();
    raised.is_ok_and(|status| status.success())
}
