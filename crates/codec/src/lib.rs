//! Turns bytes into VXLAN, Ethernet and IP headers and back.
//! Never allocates, never panics on any bytes, never decides where a frame goes.
#![no_std]
#![forbid(unsafe_code)]
