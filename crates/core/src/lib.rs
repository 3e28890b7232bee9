//! Decides where each frame goes: the forwarding database, the flood list, the accept list.
//! Never reads a clock, a socket or a payload.
#![no_std]
#![forbid(unsafe_code)]
