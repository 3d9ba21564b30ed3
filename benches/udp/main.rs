//! CPU time of each GET over UDP: Pannier beside the least that a server can do, an echo with the same batched system
//! calls, and beside memcached.
//!
//! `cargo bench --bench udp`; `-- --test` makes it small. memcached is Debian's package; without it that arm is left out.
//!
//! The server has one core to itself, the load the other. CPU time is that of all the server's threads, from
//! `/proc/PID/task/*/schedstat`, divided by the replies that were counted. The arms take turns in the order A B C C B A;
//! medians over the turns, and of the ratios within one round.

#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.

mod floor;
mod load;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::{KEY_LEN, Load, VALUE_LEN};

/// Requests in flight at once.
const DEPTHS: [usize; 2] = [1, 64];

/// A server that is measured.
struct Arm {
    name: &'static str,
    process: Process,
    load: Load,
}

/// A child that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Nanoseconds of CPU time that all threads have used.
    fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("tasks");
        let of_task = |path: std::path::PathBuf| -> Option<u64> {
            std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        tasks.flatten().filter_map(|task| of_task(task.path())).sum()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // This program is its own echo server: `udp floor REPLY_BYTES`.
    if let [_, word, reply_len] = &arguments[..]
        && word == "floor"
    {
        return floor::serve(reply_len.parse().expect("a length"));
    }
    let small = arguments.iter().any(|argument| argument == "--test");
    let (rounds, turn) =
        if small { (1, Duration::from_millis(50)) } else { (10, Duration::from_millis(500)) };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("GET of {KEY_LEN} + {VALUE_LEN} bytes over UDP, loopback, {}", machine());
    let pinned = cores > 1 && pin_load();
    println!("{rounds} rounds of {turn:?} each way; server and load on cores of their own: {pinned}");
    println!("load average at the start: {}", load_average());
    let mut arms: Vec<Arm> = [pannier(pinned), echo(pinned)].into_iter().chain(memcached(pinned)).collect();
    for depth in DEPTHS {
        compare(&mut arms, depth, rounds, turn);
    }
    println!("load average at the end: {}", load_average());
}

/// Lets the arms take turns, there and back, and prints medians.
fn compare(arms: &mut [Arm], depth: usize, rounds: usize, turn: Duration) {
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); arms.len()];
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); arms.len()];
    for _ in 0..rounds {
        for index in (0..arms.len()).chain((0..arms.len()).rev()) {
            let Arm { name, process, load } = &mut arms[index];
            let (cpu, begun) = (process.cpu_ns(), Instant::now());
            let replies = load.run(depth, turn);
            assert!(replies > 0, "{name} answers nothing");
            costs[index].push((process.cpu_ns() - cpu) as f64 / replies as f64);
            rates[index].push(replies as f64 / begun.elapsed().as_secs_f64());
        }
    }
    println!("\n{depth} in flight at once    CPU for each GET    beside the echo    GETs a second");
    for (index, arm) in arms.iter().enumerate() {
        let ratios: Vec<f64> = costs[index].iter().zip(&costs[1]).map(|(cost, floor)| cost / floor).collect();
        println!(
            "{:<24} {:>13.2} µs {:>16.2} × {:>16.0}",
            arm.name,
            median(&costs[index]) / 1000.0,
            median(&ratios),
            median(&rates[index]),
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Puts this process on core 1; false where that cannot be done.
fn pin_load() -> bool {
    let own = std::process::id().to_string();
    let status = Command::new("taskset").args(["-cp", "1", &own]).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A command that will run on core 0.
fn on_core_0(program: &str, pinned: bool) -> Command {
    if pinned {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program]);
        return command;
    }
    Command::new(program)
}

fn start(command: &mut Command) -> Process {
    Process(command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// The address behind `label` in what a server says of itself; the rest of the pipe is read away.
fn said_address(pipe: impl Read + Send + 'static, label: &str) -> SocketAddr {
    let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
    let address = lines.find_map(|line| {
        let (_, rest) = line.split_once(label)?;
        rest.split(|c: char| c.is_whitespace() || c == ',').next()?.parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    address.expect("the server says where it listens")
}

fn pannier(pinned: bool) -> Arm {
    let mut command = on_core_0(env!("CARGO_BIN_EXE_pannier"), pinned);
    command.args(["serve", "--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--admin", "off"]);
    let mut process = start(command.args(["--memory", "64MiB"]).stderr(Stdio::piped()));
    let address = said_address(process.0.stderr.take().expect("piped"), "udp=");
    Arm { name: "Pannier", process, load: Load::frames(address) }
}

fn echo(pinned: bool) -> Arm {
    let own = std::env::current_exe().expect("this program");
    let mut command = on_core_0(&own.to_string_lossy(), pinned);
    let mut process =
        start(command.args(["floor", &load::FRAME_REPLY_LEN.to_string()]).stdout(Stdio::piped()));
    let address = said_address(process.0.stdout.take().expect("piped"), "udp=");
    Arm { name: "echo", process, load: Load::echo(address) }
}

/// memcached with one worker, or None where it is not installed.
fn memcached(pinned: bool) -> Option<Arm> {
    let output = Command::new("memcached").arg("-V").output().ok()?;
    println!("beside {}", String::from_utf8_lossy(&output.stdout).trim());
    // It cannot choose a port by itself and say which: take one that was free a moment ago.
    let address = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let port = address.port().to_string();
    let mut command = on_core_0("memcached", pinned);
    command.args(["-l", "127.0.0.1", "-p", "0", "-U", &port, "-t", "1", "-m", "64"]);
    // As root it wants to be told whom to become.
    let process = start(command.args(["-u", "nobody"]).stderr(Stdio::null()));
    Some(Arm { name: "memcached", process, load: Load::memcached(address) })
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} × {}, Linux {}", model.map_or("unknown processor", |(_, name)| name), kernel.trim())
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}
