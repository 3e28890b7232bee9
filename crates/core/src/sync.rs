//! The atomics of what two threads share: those of `core`, or loom's, which try every interleaving.
//!
//! Counters use `core`'s always: nothing is decided by them.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
