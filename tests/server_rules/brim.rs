//! A store that is full to the brim, behind the server: see `common/brim.rs`.

use crate::brim::{Brim, LENS};
use crate::common::{MIB, encode};
use crate::in_process::InProcess;
use pannier::server::Resources;
use pannier::store::{OnFull, StoreConfig};

/// A store of 24 MiB: of a smaller one less is left free for values that replace others.
fn goes_on(on_full: OnFull, lens: &[usize]) {
    for len in lens.iter().copied() {
        let config = StoreConfig { memory_bytes: 24 * MIB, on_full, ..StoreConfig::default() };
        let mut process = InProcess::new(config, 4, Resources::default(), None);
        let id = process.connect();
        let mut ask = |words: &[&[u8]]| process.send(id, &encode(words));
        Brim::new(&mut ask, on_full == OnFull::Evict).check(len);
        process.server.engine().store.invariants();
    }
}

#[test]
fn a_store_that_refuses_replaces_short_values() {
    goes_on(OnFull::Refuse, &LENS[..3]);
}

#[test]
fn a_store_that_evicts_replaces_values_of_every_size() {
    goes_on(OnFull::Evict, &LENS);
}
