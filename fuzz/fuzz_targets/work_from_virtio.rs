//! See `vxgate_fuzz::work_from_virtio`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vxgate_fuzz::work_from_virtio(data));
