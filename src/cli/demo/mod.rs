//! `pannier demo`: a server, a client, and a bad network between them, in one process; told line by line.
//!
//! | file | what lives there |
//! |---|---|
//! | `story.rs` | the output, and what held |
//! | `hop.rs` | the network that damages, loses and duplicates |

mod hop;
mod story;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use super::{Exit, Failure};
use crate::{
    client::{self, Client, PutOptions, Udp},
    limits::MIB,
    net::{Handle, ServerOptions, StartError},
};
use hop::{Harm, Hop};
use story::{Story, now, shown};

/// Far more than anything takes here.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// What calls to the stopped server are given.
const SHORT_TIMEOUT: Duration = Duration::from_millis(500);
const MEMORY_MIB: usize = 16;
const FILL_KEYS: u32 = 1000;
const FRUITS: [&str; 5] = ["apple", "banana", "cherry", "damson", "elderberry"];

/// Why the story could not be told to its end.
enum Trouble {
    /// A call had no answer where it must have one.
    Call(client::Error),
    /// The server did not start, or ended badly.
    Server(StartError),
    /// A socket could not be had, or the output is closed.
    System(io::Error),
}

impl From<client::Error> for Trouble {
    fn from(error: client::Error) -> Trouble {
        Trouble::Call(error)
    }
}

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Trouble {
        Trouble::Server(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::System(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        let text = match trouble {
            Trouble::Call(error) => format!("a call that must succeed did not: {error}"),
            Trouble::Server(error) => format!("the demo's server failed: {error}"),
            Trouble::System(error) if error.kind() == io::ErrorKind::BrokenPipe => return error.into(),
            Trouble::System(error) => format!("the demo cannot go on: {error}"),
        };
        Failure::new(Exit::Refused, text)
    }
}

/// Runs it. Done only where every promise held.
pub(super) fn run(out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut story = Story::begin(out);
    tell(&mut story)?;
    let Story { held, broken, .. } = story;
    if broken > 0 {
        return Err(Failure::new(
            Exit::Refused,
            format!("{broken} of {} promises were broken", held + broken),
        ));
    }
    story.say(format_args!("\nAll {held} promises held."))?;
    Ok(Exit::Done)
}

fn tell(story: &mut Story<'_>) -> Result<(), Trouble> {
    story.say("Pannier's demo: a server, a client, and between them what a network can do.")?;
    let server = start(story)?;
    let mut tcp = Client::builder().call_timeout(CALL_TIMEOUT).connect(server.tcp_address().to_string())?;
    let udp_address = server.udp_address().unwrap_or(server.tcp_address());
    let mut direct = Udp::builder().call_timeout(CALL_TIMEOUT).connect(udp_address.to_string())?;
    fill(story, &mut tcp)?;
    basket_over_tcp(story, &mut tcp)?;
    basket_over_udp(story, &mut direct)?;

    let hop = Hop::start(udp_address)?;
    let mut udp = Udp::builder().call_timeout(CALL_TIMEOUT).connect(hop.address.to_string())?;
    // Opens the session, so that the harm is done to what it is meant for.
    udp.ping()?;
    let mut net = Net { hop, udp, tcp };
    damaged(story, &mut net)?;
    lost(story, &mut net)?;
    duplicated(story, &mut net)?;
    let counters = net.counters()?;
    let mut hasty = Udp::builder().call_timeout(SHORT_TIMEOUT).connect(udp_address.to_string())?;
    hasty.ping()?;
    stopped(story, server, &mut hasty, &mut net.tcp)?;
    tell_counters(story, &counters, net.udp.counters())
}

fn start(story: &mut Story<'_>) -> Result<Handle, Trouble> {
    story.chapter("A server starts")?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Handle::start(ServerOptions {
        tcp: any,
        udp: Some(any),
        memory_bytes: (MEMORY_MIB * MIB) as u64,
        max_clients: 16,
        databases: 1,
        write_timeout: Duration::from_secs(10),
        ..ServerOptions::default()
    })?;
    let udp = server.udp_address().map_or_else(|| "off".to_owned(), |udp| udp.to_string());
    story.tell(format_args!("it may use {MEMORY_MIB} MiB; TCP at {}, UDP at {udp}", server.tcp_address()))?;
    Ok(server)
}

fn fill(story: &mut Story<'_>, tcp: &mut Client) -> Result<(), Trouble> {
    story.chapter("The store is filled")?;
    let begun = now();
    for n in 0..FILL_KEYS {
        tcp.put(format!("session:{n}").as_bytes(), &[b'x'; 100], &PutOptions::new())?;
    }
    let took = shown(begun.elapsed());
    story.tell(format_args!("{FILL_KEYS} keys of 100 bytes put over TCP, one by one, in {took}"))?;
    let mut found = 0;
    for key in tcp.scan(Some(b"session:*"), 500) {
        key?;
        found += 1;
    }
    story.check(found == FILL_KEYS, format_args!("a scan finds {found} of them"))?;
    Ok(())
}

/// Five PUTs, five GETs and five DELETEs, each told with its answer and how long that took.
macro_rules! basket {
    ($story:ident, $client:ident, $way:literal, $delete:expr) => {{
        $story.chapter(concat!("Five PUTs, GETs and DELETEs over ", $way))?;
        let mut right = 0;
        for fruit in FRUITS {
            let begun = now();
            let stored =
                $client.put(fruit.as_bytes(), fruit.to_uppercase().as_bytes(), &PutOptions::new())?;
            let took = shown(begun.elapsed());
            right += u32::from(stored);
            $story.tell(format_args!(
                "{:25} {:12} {took}",
                format!("PUT {fruit} {}", fruit.to_uppercase()),
                "OK"
            ))?;
        }
        for fruit in FRUITS {
            let begun = now();
            let value = $client.get(fruit.as_bytes())?.unwrap_or_default();
            let took = shown(begun.elapsed());
            let value = String::from_utf8_lossy(&value).into_owned();
            right += u32::from(value == fruit.to_uppercase());
            $story.tell(format_args!("{:25} {value:12} {took}", format!("GET {fruit}")))?;
        }
        for fruit in FRUITS {
            let begun = now();
            let deleted: bool = $delete(&mut *$client, fruit.as_bytes())?;
            let took = shown(begun.elapsed());
            right += u32::from(deleted && $client.get(fruit.as_bytes())?.is_none());
            let answer = if deleted { "deleted" } else { "not there" };
            $story.tell(format_args!("{:25} {answer:12} {took}", format!("DELETE {fruit}")))?;
        }
        $story.check(
            right == 15,
            format_args!("{right} of 15 over {} were right, and what was deleted is gone", $way),
        )?;
        Ok(())
    }};
}

fn basket_over_tcp(story: &mut Story<'_>, client: &mut Client) -> Result<(), Trouble> {
    basket!(story, client, "TCP", |client: &mut Client, key: &[u8]| client
        .delete(&[key])
        .map(|count| count == 1))
}

fn basket_over_udp(story: &mut Story<'_>, client: &mut Udp) -> Result<(), Trouble> {
    basket!(story, client, "UDP", |client: &mut Udp, key: &[u8]| client.delete(key))
}

/// A client whose datagrams cross the bad network, and another way to see what the server makes of it.
struct Net {
    hop: Hop,
    udp: Udp,
    tcp: Client,
}

impl Net {
    /// The server's counters of datagrams: names and values.
    fn counters(&mut self) -> Result<Vec<(String, u64)>, Trouble> {
        let info = self.tcp.info(Some("datagrams"))?;
        let parse = |line: &str| {
            let (name, value) = line.strip_prefix("datagrams_")?.split_once(':')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Ok(info.lines().filter_map(parse).collect())
    }

    fn counter(&mut self, name: &str) -> Result<u64, Trouble> {
        let counters = self.counters()?;
        Ok(counters.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value))
    }

    /// The value at a key, by the other way in.
    fn value(&mut self, key: &str) -> Result<String, Trouble> {
        let value = self.tcp.get(key.as_bytes())?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&value).into_owned())
    }
}

fn damaged(story: &mut Story<'_>, net: &mut Net) -> Result<(), Trouble> {
    story.chapter("A bit is flipped on the way")?;
    let (rejected, retries) = (net.counter("rejected_bad_crc")?, net.udp.counters().retries);
    net.hop.harm_next(Harm::FlipBit);
    let stored = net.udp.put(b"price", b"100", &PutOptions::new())?;
    let retries = net.udp.counters().retries - retries;
    let rejected = net.counter("rejected_bad_crc")? - rejected;
    story.tell("PUT price 100 arrives as PUT qrice 100")?;
    story.check(
        rejected == 1,
        format_args!("the server rejected it and counted it: {rejected} more with a bad checksum"),
    )?;
    let wrong = net.tcp.get(b"qrice")?.is_some();
    let right = net.value("price")?;
    story.check(
        stored && retries >= 1 && !wrong && right == "100",
        format_args!("the client heard nothing, sent it again, and the price is {right}"),
    )?;
    Ok(())
}

fn lost(story: &mut Story<'_>, net: &mut Net) -> Result<(), Trouble> {
    story.chapter("A request is lost, and then a reply")?;
    let sent = |net: &Net| net.udp.counters().retries;
    let (before, begun) = (sent(net), now());
    net.hop.harm_next(Harm::LoseRequest);
    let visits = net.udp.incr(b"visits", 1)?;
    let took = shown(begun.elapsed());
    story.tell(format_args!("ADD visits 1 is lost; the client has its answer after {took}: {visits}"))?;
    let retries = sent(net) - before;
    story.check(
        retries >= 1 && visits == 1,
        format_args!("it was sent again, and ran once: visits is {visits}"),
    )?;

    let (before, repeats) = (sent(net), net.counter("repeats")?);
    net.hop.harm_next(Harm::LoseReply);
    let visits = net.udp.incr(b"visits", 1)?;
    let (retries, repeats) = (sent(net) - before, net.counter("repeats")? - repeats);
    story.tell(format_args!("ADD visits 1 runs, but its reply is lost; the client asks again: {visits}"))?;
    let stands = net.value("visits")?;
    story.check(
        retries >= 1 && repeats >= 1 && visits == 2 && stands == "2",
        format_args!("the retry got the cached reply and did not run: visits is {stands}, not 3"),
    )?;
    Ok(())
}

fn duplicated(story: &mut Story<'_>, net: &mut Net) -> Result<(), Trouble> {
    story.chapter("An ADD arrives three times, once long after")?;
    let (repeats, late) = (net.counter("repeats")?, net.udp.counters().late);
    let stale = net.counter("answered_STALE_SESSION")?;
    net.hop.harm_next(Harm::Double);
    let stock = net.udp.incr(b"stock", 10)?;
    story.tell(format_args!("ADD stock 10 arrives twice; the answer: {stock}"))?;
    let then = net.udp.incr(b"stock", -3)?;
    story.tell(format_args!("ADD stock -3 comes after it; the answer: {then}"))?;
    let repeats = net.counter("repeats")? - repeats;
    story.check(
        stock == 10 && then == 7 && repeats >= 1,
        format_args!("the second got the cached reply and did not run: stock is {}", net.value("stock")?),
    )?;

    let released = net.hop.release_copy();
    // The copy takes its way, which is short.
    let mut refused = 0;
    for _ in 0..200 {
        refused = net.counter("answered_STALE_SESSION")? - stale;
        if refused > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    story.tell("now a third copy of ADD stock 10 arrives, after its client has moved on")?;
    let stands = net.value("stock")?;
    story.check(
        released && refused >= 1 && stands == "7",
        format_args!("the server refused it as too old: stock is {stands}, not 17"),
    )?;
    // The replies to the copies wait at the client, in front of the next one.
    net.udp.ping()?;
    let late = net.udp.counters().late - late;
    story.check(
        late >= 2,
        format_args!("the client dropped the replies to the copies, and counted them: {late}"),
    )?;
    Ok(())
}

fn stopped(story: &mut Story<'_>, server: Handle, udp: &mut Udp, tcp: &mut Client) -> Result<(), Trouble> {
    story.chapter("The server stops")?;
    let begun = now();
    server.stop()?;
    story.tell(format_args!(
        "it has stopped, in {}; calls have {} from now on",
        shown(begun.elapsed()),
        shown(SHORT_TIMEOUT)
    ))?;
    let begun = now();
    let get = udp.get(b"price");
    let took = begun.elapsed();
    let (timed_out, text) = match &get {
        Err(error) => (matches!(error, client::Error::Timeout { .. }), error.to_string()),
        Ok(_) => (false, "there was an answer".to_owned()),
    };
    story.tell(format_args!("GET price over UDP, after {}: {text}", shown(took)))?;
    let on_time = took >= SHORT_TIMEOUT && took < SHORT_TIMEOUT * 4;
    story.check(timed_out && on_time, "the client timed out, and says so (exit code 4)")?;
    let add = udp.incr(b"visits", 1);
    let text = add.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    story.tell(format_args!("ADD visits 1 over UDP: {text}"))?;
    let unknown = matches!(add, Err(client::Error::OutcomeUnknown(_)));
    story.check(unknown, "a write without an answer is told as unknown, not as failed (exit code 6)")?;
    let put = tcp.put(b"price", b"120", &PutOptions::new());
    let text = put.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    story.tell(format_args!("PUT price 120 over TCP: {text}"))?;
    story.check(put.is_err(), "TCP says so too")?;
    Ok(())
}

fn tell_counters(
    story: &mut Story<'_>,
    server: &[(String, u64)],
    client: &client::Counters,
) -> Result<(), Trouble> {
    story.chapter("What was counted")?;
    story.say("   the server, of datagrams (see 'pannier stats datagrams'):")?;
    for (name, value) in server.iter().filter(|(_, value)| *value > 0) {
        story.say(format_args!("      {name:24} {value:6}"))?;
    }
    story.say("   the client behind the bad network:")?;
    let client::Counters { sent, retries, accepted, late, .. } = *client;
    for (name, value) in [("sent", sent), ("retries", retries), ("accepted", accepted), ("late", late)] {
        story.say(format_args!("      {name:24} {value:6}"))?;
    }
    Ok(())
}
