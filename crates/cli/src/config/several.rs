//! What several tunnels of one process must not share.

use super::UpConfig;
use super::layers::Layers;
use crate::failure::Failure;

/// What stands in the way of having all of these at once; each problem names both places.
pub(crate) fn problems(tunnels: &[(Layers, UpConfig)]) -> Vec<Failure> {
    let mut problems = Vec::new();
    for (index, (layers, tunnel)) in tunnels.iter().enumerate() {
        for (other_layers, other) in &tunnels[..index] {
            problems.extend(clash((layers, tunnel), (other_layers, other)));
        }
    }
    problems
}

/// The first thing that two tunnels share and must not.
fn clash(
    (layers, tunnel): (&Layers, &UpConfig),
    (other_layers, other): (&Layers, &UpConfig),
) -> Option<Failure> {
    let problem = |option: &str, why: String, hint: &str| {
        let at = |layers: &Layers| {
            let place = layers.place(option).or(layers.beginning());
            place.unwrap_or("the command line").to_owned()
        };
        let why = why.replace("{}", &at(other_layers));
        Some(Failure::usage(format!("{}: {option}", at(layers)), why).with_hint(hint.to_owned()))
    };
    if tunnel.dev == other.dev {
        return problem(
            "dev",
            format!("{} is the tunnel at {{}}, too", tunnel.dev),
            "each tunnel has a device of its own",
        );
    }
    let inner = tunnel
        .addresses
        .iter()
        .find(|own| other.addresses.iter().any(|address| address.addr() == own.addr()));
    if let Some(address) = inner {
        return problem(
            "address",
            format!("{} is an address of the tunnel at {{}}, too", address.addr()),
            "",
        );
    }
    if !may_meet(tunnel, other) {
        return None;
    }
    if !shares_port(tunnel, other) {
        let why = format!(
            "UDP port {} is that of the tunnel at {{}}, too, and only one of them says at which address",
            tunnel.port
        );
        return problem(
            "port",
            why,
            "say the same --local, and the same --underlay, in both, or give each a port of its own",
        );
    }
    if tunnel.vni == other.vni {
        let why = format!("{} is that of the tunnel at {{}}, too, at the same UDP port", tunnel.vni);
        return problem("vni", why, "tunnels of one port are told apart by their VNI");
    }
    let group = |config: &UpConfig| config.outer_peers().any(|peer| peer.is_multicast());
    if group(tunnel) || group(other) {
        let why = "a multicast group cannot be a peer of tunnels that share a port with {}".to_owned();
        return problem("peer", why, "give this tunnel a port of its own");
    }
    if tunnel.workers > 1 || other.workers > 1 {
        let why =
            "tunnels that share a port, as this one with the one at {}, have one worker each".to_owned();
        return problem("workers", why, "leave workers out, or give this tunnel a port of its own");
    }
    // The sockets' own settings.
    let differs = [
        ("source-port", tunnel.source_port != other.source_port),
        ("udp-checksum", tunnel.udp_checksum != other.udp_checksum),
        ("offload", tunnel.offload != other.offload),
        ("df", tunnel.df != other.df),
        ("busy-poll", tunnel.busy_poll != other.busy_poll),
        ("affinity", tunnel.affinity != other.affinity),
    ];
    let (option, _) = differs.into_iter().find(|(_, differs)| *differs)?;
    let why = "it must be that of the tunnel at {}, with which this one shares a port".to_owned();
    problem(option, why, "write it before the first [[tunnel]], or give this tunnel a port of its own")
}

/// Whether sockets of both could be at one address and port.
fn may_meet(tunnel: &UpConfig, other: &UpConfig) -> bool {
    let same_local = tunnel.local.is_none() || other.local.is_none() || tunnel.local == other.local;
    let apart = tunnel.underlay.is_some() && other.underlay.is_some() && tunnel.underlay != other.underlay;
    tunnel.family == other.family && tunnel.port == other.port && same_local && !apart
}

/// Whether two tunnels share their sockets: the same port, at what both call the same address. Where neither says its address, each finds
/// out its own, which may be the same.
pub(crate) fn shares_port(tunnel: &UpConfig, other: &UpConfig) -> bool {
    may_meet(tunnel, other) && tunnel.local == other.local && tunnel.underlay == other.underlay
}
