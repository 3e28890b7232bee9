//! SORACOM Gate: its peers JSON and the arguments of its init script.
//! Never opens a tunnel.
#![forbid(unsafe_code)]
