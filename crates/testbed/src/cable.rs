//! A virtual cable between two hosts.

use vxgate_sys::ethtool;

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

/// Makes an end of a cable behave as a plain network card: superframes leave it as wire packets, each with its checksum
/// done by the card, and what arrives is joined by the kernel's GRO. Do it at both ends.
///
/// Every segmentation offload goes off, and GRO on: a veth has none of its own accord, and with it receives by NAPI as
/// a driver does (drivers/net/veth.c).
///
/// # Errors
/// [`Error::Features`] when there is no such link, or it cannot be switched.
pub fn plain_nic(host: &Host, link: &str) -> Result<(), Error> {
    switch(host, link, &[("rx-gro", true)])
}

/// Makes superframes leave an end of a cable as wire packets, one by one: whoever listens at the other end sees what a wire
/// would show.
///
/// # Errors
/// As [`plain_nic`].
pub fn wire_packets(host: &Host, link: &str) -> Result<(), Error> {
    switch(host, link, &[])
}

/// Switches every segmentation offload off, and these features as they say.
fn switch(host: &Host, link: &str, others: &[(&str, bool)]) -> Result<(), Error> {
    let switched = host.run(|| {
        let features = ethtool::features(link)?;
        let segmenting =
            features.iter().filter(|feature| feature.active && feature.changeable && segments(&feature.name));
        let mut wanted: Vec<(&str, bool)> =
            segmenting.map(|feature| (feature.name.as_str(), false)).collect();
        wanted.extend(others);
        ethtool::set_features(link, &wanted)
    });
    switched.map_err(|source| Error::Features { link: link.to_owned(), source })
}

/// Whether a feature of that name lets superframes pass (net/ethtool/common.c).
fn segments(feature: &str) -> bool {
    feature.starts_with("tx-") && (feature.ends_with("-segmentation") || feature.contains("-gso-"))
}
