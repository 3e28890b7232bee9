//! Links, addresses, routes and neighbours of this network namespace, by rtnetlink, and tables of nftables.
//! Never runs another program and never touches a frame.
//!
//! A [`Netlink`] speaks for the network namespace of the thread that opened it. Each request is one message to the
//! kernel (rtnetlink(7)) with its acknowledgement; a refusal is an [`Error`] with the kernel's errno and, where the
//! kernel gives one, its own sentence.
//!
//! ```no_run
//! # async fn example() -> Result<(), vxgate_netlink::Error> {
//! use vxgate_netlink::{Netlink, Vxlan};
//!
//! let netlink = Netlink::open()?;
//! let vxlan = netlink.vxlan_add("vxlan0", &Vxlan { vni: 10, ..Vxlan::default() }).await?;
//! netlink.address_add(&vxlan, "10.225.194.171/9".parse().expect("an address")).await?;
//! netlink.set_up(&vxlan).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod address;
mod error;
mod fdb;
mod handle;
mod link;
mod link_kinds;
mod neighbour;
pub mod nft;
mod route;
mod vxlan;
mod watch;

pub use address::Address;
pub use error::Error;
pub use fdb::{FdbEntry, FdbState};
pub use handle::Netlink;
pub use link::{Link, LinkCounters};
pub use neighbour::{Neighbour, NeighbourState};
pub use route::Route;
pub use vxlan::{DontFragment, TimeToLive, TypeOfService, Vxlan};
pub use watch::Watch;
