//! A virtual cable between two hosts.

use crate::host::{Error, Host};

/// Lays a veth pair between two hosts and switches both ends on; addresses are the caller's to add. Its MTU is 1500.
///
/// The pair does not segment: a superframe that goes in comes out whole, with its checksum unfinished
/// (drivers/net/veth.c), as no wire would let it.
///
/// # Errors
/// [`Error::Netlink`] when a name is taken.
pub fn link(a: &Host, a_link: &str, b: &Host, b_link: &str) -> Result<(), Error> {
    a.netlink(async |netlink| {
        let end = netlink.veth_add(a_link, b_link, Some(b.namespace())).await?;
        netlink.set_up(&end).await
    })?;
    b.up(b_link)
}
