//! See the table in `bodies/mod.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pannier_fuzz::rdb::run(data));
