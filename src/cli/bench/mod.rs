//! `pannier bench`: a load generator for Pannier and for other servers of the same protocols.
//!
//! One thread and one poll, so that one core of load can keep one core of server busy: requests are templates in which
//! digits are patched, replies are counted by their lengths, and one of a thousand values is compared with what was
//! written. `docs/benchmarks.md` tells how to read the figures.
//!
//! | file | what lives there |
//! |---|---|
//! | `args.rs` | the flags, checked |
//! | `workload.rs` | which key, which operation, what size: drawn from a seed |
//! | `content.rs` | keys and values made from numbers, and their check |
//! | `commands.rs` | commands that take turns |
//! | `codec.rs`, `resp.rs`, `template.rs`, `memcached.rs`, `frames.rs` | protocols over TCP |
//! | `link.rs`, `stream.rs`, `udp.rs` | one client, over TCP or UDP |
//! | `connect.rs` | connections, made and let in |
//! | `run.rs` | the loop that keeps clients busy |
//! | `stats.rs`, `cpu.rs` | what is counted; CPU time |
//! | `progress.rs`, `report.rs` | what people see, and programs |

mod args;
mod codec;
mod commands;
mod connect;
mod content;
mod cpu;
mod frames;
mod link;
mod memcached;
mod progress;
mod report;
mod resp;
mod run;
mod stats;
mod stream;
mod template;
mod udp;
mod workload;

use std::{env, io::Write, net::TcpStream};

pub(crate) use args::BenchArgs;
use args::{Plan, Protocol};
use codec::{Bare, Codec};
use content::Content;
use cpu::{Cpu, Process};
use frames::{Frames, Session};
use link::{Gone, Link, Shared};
use memcached::Memcached;
use progress::{Progress, Until};
use report::Report;
use resp::Resp;
use run::{LoadGroup, Pacing, Ran, Runner};
use stats::Stats;
use stream::Stream;
use template::Template;
use udp::{Batch, Udp};
use workload::{Distribution, Mix, Sizes, Workload};

use super::{Exit, Failure, output, secret};
use crate::client;

/// Requests that a connection has in flight while keys are filled in, where values are short.
const FILL_DEPTH: usize = 64;
/// Values beyond this are filled in one by one.
const FILL_SHORT_BYTES: usize = 64 * 1024;

impl BenchArgs {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let password = secret::password(self.password_file.as_deref(), env::var_os("PANNIER_PASSWORD"))
            .map_err(Failure::usage)?;
        let password = password.as_ref().map(secret::Secret::expose);
        let plan = self.plan(password.is_some()).map_err(Failure::usage)?;
        // One number more than there are keys: the large value's.
        let content = Content::new(plan.mix.keys, plan.key_len).map_err(Failure::usage)?;
        let server_process = self.server_pid.map(Process::of);
        if let Some(Err(error)) = server_process.as_ref().map(Process::cpu) {
            return Err(Failure::usage(format!(
                "--server-pid: the CPU time of that process cannot be read: {error}"
            )));
        }
        let load = Load { server: &self.server, plan: &plan, password, process: server_process };
        connect::allow_descriptors(plan.connections);
        let outcome = load.run(content).map_err(|gone| load.explain(&gone))?;
        let Outcome { groups, fill, ran, server_cpu, load_cpu } = &outcome;
        let report = Report {
            server: &self.server,
            plan: &plan,
            stats: &groups[0].stats,
            large: groups.get(1).map(|group| &group.stats),
            fill: fill.as_ref(),
            ran: *ran,
            server_cpu: *server_cpu,
            load_cpu: *load_cpu,
        };
        match self.json {
            true => output::write_json(out, &report.json())?,
            false => report.write_text(out)?,
        }
        if report.wrong() {
            let first =
                groups.iter().find_map(|group| group.stats.wrong_first.as_deref()).unwrap_or_default();
            return Err(Failure::new(
                Exit::Refused,
                format!("the server gave wrong answers; the first: {first}"),
            ));
        }
        Ok(Exit::Done)
    }
}

/// A load that is to be put on a server.
struct Load<'a> {
    server: &'a str,
    plan: &'a Plan,
    password: Option<&'a [u8]>,
    process: Option<Process>,
}

/// What it has come to.
struct Outcome {
    groups: Vec<LoadGroup>,
    fill: Option<Stats>,
    ran: Ran,
    server_cpu: Option<Cpu>,
    load_cpu: Cpu,
}

impl Load<'_> {
    fn run(&self, content: Content) -> Result<Outcome, Gone> {
        let (plan, sizes) = (self.plan, self.plan.mix.sizes);
        let large_sizes =
            plan.large.map_or(sizes, |large| Sizes { min: large.value_len, max: large.value_len });
        let shared = Shared::new(content);
        let content = &shared.content;
        match plan.protocol {
            Protocol::Resp if !plan.commands.is_empty() => {
                let set = Resp::new(content, sizes, None);
                let codec = Template::new(&plan.commands, content, set, plan.mix.keys);
                let codec =
                    |index, stream: &mut TcpStream| self.let_in(stream).map(|()| codec.starting_at(index));
                self.run_streams(codec, shared)
            }
            Protocol::Resp => {
                let codec = Resp::new(content, sizes, plan.ttl_ms);
                let large = Resp::new(content, large_sizes, None);
                let codec = |index, stream: &mut TcpStream| {
                    self.let_in(stream)?;
                    Ok(if index < plan.connections { codec.clone() } else { large.clone() })
                };
                self.run_streams(codec, shared)
            }
            Protocol::Memcached => {
                let codec = Memcached::new(plan.ttl_ms);
                self.run_streams(|_, _| Ok(codec.clone()), shared)
            }
            Protocol::Frames => {
                let template = Session::new(content, self.password, plan.ttl_ms).map_err(Gone::Io)?;
                let codec = |_, stream: &mut TcpStream| {
                    let session = template.again().map_err(Gone::Io)?;
                    if plan.floor_reply.is_some() {
                        Ok(Frames::opened(session))
                    } else {
                        Frames::open(session, stream)
                    }
                };
                self.run_streams(codec, shared)
            }
            Protocol::Udp => self.run_datagrams(shared),
        }
    }

    fn let_in(&self, stream: &mut TcpStream) -> Result<(), Gone> {
        self.password.map_or(Ok(()), |password| connect::authenticate(stream, password))
    }

    fn run_streams<C: Codec>(
        &self,
        codec: impl Fn(usize, &mut TcpStream) -> Result<C, Gone>,
        shared: Shared,
    ) -> Result<Outcome, Gone> {
        let connect = |index| {
            let mut stream = connect::connect(self.server, self.plan.timeout)?;
            let codec = codec(index, &mut stream)?;
            Ok((connect::nonblocking(stream)?, codec))
        };
        let indices = 0..self.plan.connections + usize::from(self.plan.large.is_some());
        match self.plan.floor_reply {
            None => {
                let link = |index| connect(index).map(|(socket, codec)| Stream::new(socket, codec));
                self.put(indices.map(link).collect::<Result<_, _>>()?, shared)
            }
            Some(reply_len) => {
                let link = |index| {
                    connect(index).map(|(socket, codec)| Stream::new(socket, Bare { codec, reply_len }))
                };
                self.put(indices.map(link).collect::<Result<_, _>>()?, shared)
            }
        }
    }

    fn run_datagrams(&self, shared: Shared) -> Result<Outcome, Gone> {
        let addresses = client::resolve(self.server).map_err(Gone::Io)?;
        let address = *addresses.first().ok_or_else(|| Gone::Io(std::io::ErrorKind::NotFound.into()))?;
        let batch = Batch::new();
        let template = Session::new(&shared.content, self.password, self.plan.ttl_ms).map_err(Gone::Io)?;
        let links = (0..self.plan.connections).map(|_| {
            let session = template.again().map_err(Gone::Io)?;
            Udp::open(address, session, batch.clone(), self.plan.floor_reply)
        });
        let links = links.collect::<Result<_, _>>()?;
        self.put(links, shared)
    }

    /// Fills, warms up, and measures.
    fn put<L: Link>(&self, links: Vec<L>, shared: Shared) -> Result<Outcome, Gone> {
        let plan = self.plan;
        let mut runner = Runner::new(links, shared, plan.timeout).map_err(Gone::Io)?;
        let fill = self.fill(&mut runner)?;
        let mut groups = self.groups(plan.mix.seed);
        if let Some(time) = plan.warm_up {
            let until = Until::Elapsed(time);
            runner.run(&mut groups, until, &mut Progress::new("warm-up", until))?;
            // Another seed: the keys of the warm-up are not to come again in the same order.
            groups = self.groups(plan.mix.seed.wrapping_add(1));
        }
        let (server_before, load_before) = (self.server_cpu()?, Process::own().cpu().map_err(Gone::Io)?);
        let ran = runner.run(&mut groups, plan.until, &mut Progress::new("measure", plan.until))?;
        groups.iter_mut().for_each(|group| group.stats.settle());
        let load_cpu = Process::own().cpu().map_err(Gone::Io)?.since(load_before);
        let server_cpu = self.server_cpu()?.zip(server_before).map(|(after, before)| after.since(before));
        Ok(Outcome { groups, fill, ran, server_cpu, load_cpu })
    }

    fn fill<L: Link>(&self, runner: &mut Runner<L>) -> Result<Option<Stats>, Gone> {
        let plan = self.plan;
        if let Some(large) = plan.large {
            let sizes = Sizes { min: large.value_len, max: large.value_len };
            let mix = Mix { read_percent: 0, sizes, ..plan.mix };
            let workload = Workload::one_key(mix, plan.mix.keys);
            let group = LoadGroup::new(plan.connections..plan.connections + 1, Pacing::Closed, 1, workload);
            let until = Until::Requests(1);
            let mut groups = [group];
            runner.run(&mut groups, until, &mut Progress::new("fill", until))?;
            if let Some(words) = groups[0].stats.errors.keys().next() {
                return Err(Gone::Refused(format!("the large value was not taken: {words}")));
            }
        }
        if !plan.fill {
            return Ok(None);
        }
        let depth = if plan.mix.sizes.max > FILL_SHORT_BYTES { 1 } else { FILL_DEPTH };
        let until = Until::Requests(plan.mix.keys);
        let mut groups =
            [LoadGroup::new(0..plan.connections, Pacing::Closed, depth, Workload::fill(plan.mix))];
        runner.run(&mut groups, until, &mut Progress::new("fill", until))?;
        let [mut group] = groups;
        group.stats.settle();
        Ok(Some(group.stats))
    }

    fn groups(&self, seed: u64) -> Vec<LoadGroup> {
        let plan = self.plan;
        let mix = Mix { seed, ..plan.mix };
        let mut groups =
            vec![LoadGroup::new(0..plan.connections, plan.pacing, plan.depth, Workload::new(mix))];
        groups[0].reconnect = plan.reconnect;
        if let Some(large) = plan.large {
            let mix = Mix { read_percent: 100, distribution: Distribution::Uniform, check_every: 10, ..mix };
            let workload = Workload::one_key(mix, plan.mix.keys);
            let links = plan.connections..plan.connections + 1;
            groups.push(LoadGroup::new(links, Pacing::Rate(large.rate), 1, workload));
        }
        groups
    }

    fn server_cpu(&self) -> Result<Option<Cpu>, Gone> {
        self.process.as_ref().map(Process::cpu).transpose().map_err(|_| Gone::Closed)
    }

    fn explain(&self, gone: &Gone) -> Failure {
        let server = self.server;
        let unreachable = |text: String| Failure::new(Exit::Unreachable, text);
        match gone {
            Gone::Closed => unreachable(format!("{server} closed the connection before the load was over")),
            Gone::Io(error) if error.raw_os_error() == Some(nix::errno::Errno::EMFILE as i32) => {
                Failure::usage("so many connections need more descriptors: raise the limit by 'ulimit -n'")
            }
            Gone::Io(error) => unreachable(format!(
                "{server}: {error}. Is it running? Run one with 'pannier serve', or name another with --server"
            )),
            Gone::Silent(time) => {
                unreachable(format!("{server} did not answer for {time:?}; allow more by --timeout"))
            }
            Gone::NoDatagrams => unreachable(format!(
                "{server} does not answer datagrams. A server that is down, has UDP off or another password does not answer"
            )),
            Gone::Garbage(what) => Failure::new(
                Exit::Refused,
                format!("{server} answered {what}; does it speak this --protocol?"),
            ),
            Gone::Refused(text) => Failure::new(Exit::Refused, text.clone()),
            Gone::NotAuthenticated => Failure::new(
                Exit::NotAuthenticated,
                format!(
                    "{server} wants a password, or another one. Set PANNIER_PASSWORD, or name a file by --password-file"
                ),
            ),
        }
    }
}
