//! See `vxgate_fuzz::split`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vxgate_fuzz::split(data));
