//! Any bytes, in two pieces and in one: the decoder of RESP commands comes to the same, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pannier::wire::resp::{Arg, ArgTable, Bounds, Decoder, Step};
use std::cell::RefCell;

const BOUNDS: Bounds = Bounds { authenticated: true, max_bulk_bytes: 1 << 20 };

thread_local! {
    static TABLE: RefCell<ArgTable> = RefCell::new(ArgTable::with_capacity(1 << 20));
}

/// The arguments of the first command, or how else decoding ended.
fn first(decoder: &mut Decoder, bytes: &[u8], table: &mut ArgTable) -> Option<Vec<Vec<u8>>> {
    match decoder.decode(bytes, &BOUNDS, table) {
        Ok(Step::Ready { consumed }) => {
            let args = table.args(&bytes[..consumed]);
            let owned =
                args.iter().map(|arg| if let Arg::Bytes(bytes) = arg { bytes.to_vec() } else { Vec::new() });
            Some(owned.collect())
        }
        Ok(Step::Skip { .. } | Step::NeedMore | Step::Body { .. }) | Err(_) => None,
    }
}

fuzz_target!(|input: (u16, &[u8])| {
    let (split, bytes) = input;
    TABLE.with_borrow_mut(|table| {
        let whole = first(&mut Decoder::new(), bytes, table);
        let mut decoder = Decoder::new();
        let split = usize::from(split).min(bytes.len());
        match decoder.decode(&bytes[..split], &BOUNDS, table) {
            Ok(Step::NeedMore) => assert_eq!(first(&mut decoder, bytes, table), whole),
            // The first piece was enough to tell; the rest changes nothing about it.
            Ok(Step::Ready { .. }) => assert!(whole.is_some()),
            Ok(Step::Skip { .. } | Step::Body { .. }) | Err(_) => assert!(whole.is_none()),
        }
    });
});
