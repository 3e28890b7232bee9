//! Two VTEPs in one process, joined in memory: no device, no socket, no privilege.
//!
//! ```text
//!   one: MemoryPort ── Forwarder ── MemoryUnderlay ~~ this program carries ~~ MemoryUnderlay ── Forwarder ── MemoryPort :two
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use vxgate_forwarder::{
    Device, Forwarder, MacAddr, MemoryPort, MemoryUnderlay, OuterPolicy, OverlayEnd, Remote, Segment,
    SegmentConfig, Timestamp, UnderlayEnd,
};

const PATIENCE: Duration = Duration::from_secs(5);

/// A VTEP whose only peer is at this address.
fn vtep(mac: MacAddr, peer: IpAddr) -> Result<(Forwarder, OverlayEnd, UnderlayEnd), Box<dyn Error>> {
    let mut segment = Segment::new(SegmentConfig { hash_key: 0x5eed, ..SegmentConfig::default() });
    segment.peer_add(Remote::new(peer), Timestamp::default())?;
    let (port, host) = MemoryPort::new(Device { mac, mtu_octets: 1450 }, 64)?;
    let (underlay, network) = MemoryUnderlay::new(64)?;
    Ok((Forwarder::spawn(segment, port, underlay, OuterPolicy::default())?, host, network))
}

fn main() -> Result<(), Box<dyn Error>> {
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse()?, "192.0.2.2".parse()?];
    let macs = [MacAddr::new([2, 0, 0, 0, 0, 1]), MacAddr::new([2, 0, 0, 0, 0, 2])];
    let (one, host_one, network_one) = vtep(macs[0], addresses[1])?;
    let (two, host_two, network_two) = vtep(macs[1], addresses[0])?;

    // A broadcast of one, so that two learns where it is; then an answer by unicast.
    let frame = |to: &[u8; 6], from: MacAddr| [&to[..], &from.octets(), &[0x88, 0xb5], &[0; 46]].concat();
    host_one.send(&frame(&[0xff; 6], macs[0]));
    let (to, datagram) = network_one.recv_within(PATIENCE)?.ok_or("nothing was sent")?;
    network_two.send(addresses[0], &datagram);
    let received = host_two.recv_within(PATIENCE)?.ok_or("nothing arrived")?;
    println!("one to {to}: {} octets of datagram, {} of frame", datagram.len(), received.len());

    host_two.send(&frame(&macs[0].octets(), macs[1]));
    let (to, datagram) = network_two.recv_within(PATIENCE)?.ok_or("nothing was sent")?;
    println!("two to {to}: {} octets of datagram", datagram.len());

    let known = two.control().with(|segment, _| segment.entries())?;
    println!("two knows {known} addresses, the list of its peers among them");
    one.stop()?;
    two.stop()?;
    Ok(())
}
