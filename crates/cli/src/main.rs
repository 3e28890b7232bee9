//! The `vxgate` binary: arguments, daemon, control socket, printing, lab.
//! Never decides where a frame goes.
#![forbid(unsafe_code)]
fn main() {}
