//! See `vxgate_fuzz::coalesce`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vxgate_fuzz::coalesce(data));
