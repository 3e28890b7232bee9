//! Moves frames between a port and an underlay as the core decides.
//! Never decides where a frame goes and never configures a link.
#![forbid(unsafe_code)]
