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
    // A wildcard of sockets: where one does not say its address, it may be the other's.
    let same_local = tunnel.local.is_none() || other.local.is_none() || tunnel.local == other.local;
    let apart = tunnel.underlay.is_some() && other.underlay.is_some() && tunnel.underlay != other.underlay;
    if tunnel.family == other.family && tunnel.port == other.port && same_local && !apart {
        let why = format!("UDP port {} is that of the tunnel at {{}}, too", tunnel.port);
        return problem("port", why, "give each tunnel a port, or a local address, of its own");
    }
    None
}
