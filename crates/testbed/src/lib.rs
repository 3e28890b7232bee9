//! Hosts in namespaces with links between them: the ground that the lab, the benches and the tests build on.
//! Never touches a device outside the namespaces it made.
//!
//! A [`Host`] is a network namespace that nothing but its descriptor keeps alive. [`link`] lays a virtual cable between
//! two of them, [`KernelVxlan`] puts the kernel's own VTEP into one, and [`Ping`], [`tcp`] and [`udp`] send traffic and
//! judge what arrives. A test wraps its body in [`isolated!`] and then needs no root:
//!
//! ```no_run
//! # use vxgate_testbed::{Host, Ping, isolated, link};
//! #[test]
//! fn two_hosts_on_a_cable_reach_each_other() {
//!     // a ── eth0 ──── eth0 ── b
//!     isolated!(|| {
//!         let a = Host::new("a").unwrap();
//!         let b = Host::new("b").unwrap();
//!         link(&a, "eth0", &b, "eth0").unwrap();
//!         a.address("eth0", "192.0.2.1/24").unwrap();
//!         b.address("eth0", "192.0.2.2/24").unwrap();
//!         assert!(a.ping("192.0.2.2").all_answered());
//!     });
//! }
//! ```
#![forbid(unsafe_code)]

mod cable;
mod digest;
mod host;
mod isolated;
mod kernel_vxlan;
mod ping;
mod probe;
pub mod tcp;
pub mod udp;
mod wait;

pub use cable::{link, plain_nic, wire_packets};
pub use digest::Digest;
pub use host::{Error, Host};
pub use isolated::{isolated, isolated_main, require_namespaces, skip, test_name};
pub use kernel_vxlan::KernelVxlan;
pub use ping::{Ping, PingReport};
pub use probe::{kernel_has_tun, kernel_has_vxlan, tun_obstacle};
pub use vxgate_netlink::LinkCounters;
pub use wait::{eventually, now, wait_for};
