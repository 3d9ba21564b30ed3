//! A client with subscriptions: it hears every message of each, once and in order.

use super::{Truth, strings};
use crate::client::Reply;
use crate::sim::violation::{Violation, show, violation};
use std::collections::BTreeMap;

/// Has subscriptions, each to a channel or a pattern.
#[derive(Default)]
pub struct Subscriber {
    /// By what was subscribed to: of each channel, up to where it has heard.
    heard: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, usize>>,
    /// Confirmed in this turn.
    fresh: Vec<Vec<u8>>,
    /// What came in this turn: subscription, channel, text.
    came: Vec<[Vec<u8>; 3]>,
}

impl Subscriber {
    pub(super) fn heard(&mut self, reply: Reply) -> Result<(), Violation> {
        let Some(mut parts) = strings(reply) else { return Ok(()) };
        if parts.len() < 3 {
            return Ok(());
        }
        let name = std::mem::take(&mut parts[1]);
        match &parts[0][..] {
            b"subscribe" | b"psubscribe"
                if !self.heard.contains_key(&name) && !self.fresh.contains(&name) =>
            {
                self.fresh.push(name);
            }
            b"unsubscribe" | b"punsubscribe" => {
                self.heard.remove(&name);
                self.fresh.retain(|fresh| *fresh != name);
                self.came.retain(|[of, ..]| *of != name);
            }
            b"message" | b"pmessage" => {
                if !self.heard.contains_key(&name) && !self.fresh.contains(&name) {
                    return Err(violation(b"", format!("a message for {} to none of it", show(&name))));
                }
                let text = parts.pop().unwrap_or_default();
                let channel =
                    if parts[0] == b"pmessage" { parts.pop().unwrap_or_default() } else { name.clone() };
                self.came.push([name, channel, text]);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn judge(&mut self, whole: bool, truth: &Truth) -> Result<(), Violation> {
        for [name, channel, text] in self.came.drain(..) {
            let (all, before) = truth.published(&channel);
            let at = all.iter().position(|published| *published == text);
            let next = self.heard.get(&name).and_then(|channels| channels.get(&channel)).copied();
            let is_next = match (at, next) {
                (None, _) => false,
                (Some(at), Some(next)) => at == next,
                (Some(at), None) => at >= before,
            };
            if !is_next {
                let text =
                    format!("{} on {} by {} is out of order", show(&text), show(&channel), show(&name));
                return Err(violation(b"", format!("{text}: {at:?} after {next:?}, {before} before")));
            }
            let place = self.heard.entry(name).or_default().entry(channel).or_default();
            *place = at.unwrap_or(0) + 1;
        }
        if !whole {
            return Ok(());
        }
        for name in self.fresh.drain(..) {
            self.heard.entry(name).or_default();
        }
        for (name, channels) in &mut self.heard {
            for channel in truth.channels().filter(|channel| matches(name, channel)) {
                let (all, _) = truth.published(channel);
                if *channels.entry(channel.clone()).or_insert(all.len()) != all.len() {
                    let text = format!("{} has not had all of {}", show(name), show(channel));
                    return Err(violation(b"", text));
                }
            }
        }
        Ok(())
    }
}

/// Whether what was subscribed to stands for a channel.
fn matches(name: &[u8], channel: &[u8]) -> bool {
    match name {
        b"[ns]*" => channel.starts_with(b"n") || channel.starts_with(b"s"),
        b"spor?" => channel == b"sport",
        _ => name == channel,
    }
}
