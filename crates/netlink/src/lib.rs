//! Links, addresses, routes and neighbours of this network namespace, by rtnetlink.
//! Never runs another program and never touches a frame.
#![forbid(unsafe_code)]
