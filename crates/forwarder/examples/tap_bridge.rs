//! A tunnel in forty lines: a TAP device on one side, a UDP socket on the other.
//!
//! `tap_bridge DEV LOCAL PEER [SECONDS]`; then, in another terminal, `ip address add 10.0.0.1/24 dev DEV; ip link set DEV mtu 1450 up`.
//! It needs CAP_NET_ADMIN, or a device that is yours.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vxgate_forwarder::{
    Forwarder, Offload, OuterPolicy, Remote, Segment, SegmentConfig, Tap, TapOptions, TapPort, Timestamp,
    UdpConfig, UdpUnderlay,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [dev, local, peer, rest @ ..] = words.as_slice() else {
        return Err("tap_bridge DEV LOCAL PEER [SECONDS]".into());
    };
    let seconds = rest.first().map_or(Ok(60), |seconds| seconds.parse())?;

    // Nobody outside may know where addresses lie in the table.
    let hash_key = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut segment = Segment::new(SegmentConfig { hash_key, ..SegmentConfig::default() });
    segment.peer_add(Remote::new(peer.parse()?), Timestamp::default())?;

    let tap = Arc::new(Tap::open(&TapOptions { offload: Offload::ALL, ..TapOptions::new(dev) })?);
    let underlay = UdpUnderlay::bind(&UdpConfig::new((local.parse::<std::net::IpAddr>()?, 4789).into()))?;
    let forwarder = Forwarder::spawn(segment, TapPort::new(tap), underlay, OuterPolicy::default())?;
    println!("{dev}: VNI 10, {local} -> {peer}, for {seconds} s");

    #[expect(clippy::disallowed_methods, reason = "there is nothing else to do for this program")]
    thread::sleep(Duration::from_secs(seconds));
    let counts = forwarder.counters().snapshot();
    println!("{} frames out, {} in", counts.sent.frames, counts.delivered.frames);
    Ok(forwarder.stop()?)
}
