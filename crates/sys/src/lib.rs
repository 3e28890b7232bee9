//! One safe function per system call that the data plane needs; the crate with the unsafe code (`vxgate-checksum` has two calls more).
//! Says nothing of VXLAN.
//!
//! Every descriptor is opened close-on-exec and non-blocking. A call that a signal interrupts is made again,
//! and one that would block says so in its value, not in an error. Linux only; features that an older kernel
//! lacks are refused by name or demoted, as the function says.

mod call;
mod control;
#[cfg(feature = "counting-allocator")]
pub mod counting_allocator;
pub mod epoll;
pub mod ethtool;
pub mod eventfd;
pub mod icmp;
pub mod inherit;
pub mod inheritance;
pub mod interface;
pub mod namespace;
pub mod packet;
pub mod plain_tap;
mod poll;
mod socket_name;
pub mod tap;
#[cfg(test)]
mod test_support;
pub mod udp;
