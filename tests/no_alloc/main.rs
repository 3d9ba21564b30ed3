//! After the start, serving takes nothing from the heap: the global allocator of this binary counts what each thread takes,
//! which is why these tests have a binary of their own.
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/counting_allocator.rs"]
mod counting_allocator;
mod datagrams;
#[path = "../common/in_process.rs"]
mod in_process;
mod server;

#[global_allocator]
static ALLOCATOR: counting_allocator::CountingAllocator = counting_allocator::CountingAllocator;
