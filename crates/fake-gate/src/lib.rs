//! A SORACOM Gate API on this machine, faults included, for tests and the lab.
//! Never speaks to the real one.
#![forbid(unsafe_code)]
