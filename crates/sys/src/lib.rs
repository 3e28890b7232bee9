//! One safe function per system call that the data plane needs; the only crate with unsafe code.
//! Says nothing of VXLAN.

pub mod namespace;
