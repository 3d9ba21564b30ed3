//! LATENCY: histograms of the time that verbs took. There is no monitor of latency spikes, so LATEST and HISTORY have
//! nothing to tell.

use super::{Call, Flow, Outcome};
use crate::{
    command::{self, VERBS, Verb},
    metrics::Metrics,
    wire::{arguments::Args, encode::Out},
};

/// `LATENCY RESET [event …]`: no event was ever recorded.
pub fn reset<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.done(0)
}

/// `LATENCY LATEST`, `LATENCY HISTORY event`
pub fn no_events<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.array(0);
    Ok(Flow::Done)
}

/// `LATENCY HISTOGRAM [command …]`
pub fn histogram<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let args = call.args.from(2);
    let Call { engine, out, .. } = call;
    let metrics = &engine.metrics;
    let mut count = 0;
    each(args, metrics, &mut |_| count += 1);
    out.map(count);
    each(args, metrics, &mut |verb| write(out, verb, metrics));
    Ok(Flow::Done)
}

/// Visits the verbs that were named (all, if none was) and that ran, subcommands with their container.
fn each(args: Args<'_>, metrics: &Metrics, visit: &mut dyn FnMut(&'static Verb)) {
    let mut offer = |verb: &'static Verb| {
        if metrics.verb(verb.id).bounds().next().is_some() {
            visit(verb);
        }
    };
    if args.is_empty() {
        return VERBS.iter().for_each(offer);
    }
    for at in 0..args.len() {
        let named = args.bytes(at).and_then(command::find_full);
        for verb in named.into_iter().flat_map(|verb| std::iter::once(verb).chain(verb.subcommands())) {
            offer(verb);
        }
    }
}

fn write(out: &mut Out<'_>, verb: &Verb, metrics: &Metrics) {
    let metrics = metrics.verb(verb.id);
    let calls = metrics.bounds().last().map_or(0, |(_, total)| total);
    out.bulk(verb.name.as_bytes());
    out.map(2);
    out.bulk(b"calls");
    out.integer(calls as i64);
    out.bulk(b"histogram_usec");
    out.map(metrics.bounds().count());
    for (micros, total) in metrics.bounds() {
        out.integer(micros as i64);
        out.integer(total as i64);
    }
}
