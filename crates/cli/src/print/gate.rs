//! `vxgate gate`: what the API says, for people, or in the API's own words.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Value, json};
use vxgate_gate::GatePeer;
use vxgate_gate::api::{Vpg, VpgId};

use super::peers::table;
use super::{Format, JsonList};

/// A Gate peer as the API writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiPeer {
    inner_ip_address: IpAddr,
    netmask: Option<String>,
    outer_ip_address: IpAddr,
    owned_by_customer: bool,
}

impl ApiPeer {
    fn new(peer: &GatePeer) -> ApiPeer {
        ApiPeer {
            inner_ip_address: peer.inner_ip,
            netmask: peer.netmask.map(|netmask| netmask.to_string()),
            outer_ip_address: peer.outer_ip,
            owned_by_customer: peer.owned_by_customer,
        }
    }
}

/// A VPG under the API's names.
fn api_vpg(vpg: &Vpg) -> Value {
    let text = |network: Option<ipnet::IpNet>| network.map(|network| network.to_string());
    json!({
        "vpgId": vpg.vpg_id,
        "status": vpg.status,
        "tags": { "name": vpg.name },
        "gateOpened": vpg.gate_opened,
        "gateVxlanId": vpg.gate_vni.map(vxgate_codec::Vni::get),
        "gatePrivacySeparatorEnabled": vpg.privacy_separator,
        "deviceSubnetCidrRange": text(vpg.device_subnet),
        "vpgSubnetCidrRange": text(vpg.vpg_subnet),
        "simRoutes": vpg.sim_routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Writes a VPG with its peers.
pub(crate) fn status(
    out: &mut dyn Write,
    format: Format,
    vpg: &Vpg,
    peers: &[GatePeer],
    same: &str,
) -> io::Result<()> {
    let style = match format {
        Format::Text(style) => style,
        Format::Json | Format::PrettyJson => {
            let mut object = api_vpg(vpg);
            object["peers"] = serde_json::to_value(peers.iter().map(ApiPeer::new).collect::<Vec<_>>())?;
            return json_line(out, format, &object);
        }
    };
    let name = vpg.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    writeln!(out, "VPG {}{name}: {}", style.name(&vpg.vpg_id), vpg.status)?;
    match (vpg.gate_opened, vpg.gate_vni) {
        (true, Some(vni)) => writeln!(out, "  gate: {}, VNI {vni}", style.good("open"))?,
        (true, None) => writeln!(out, "  gate: {}", style.good("open"))?,
        (false, _) => {
            writeln!(out, "  gate: {}; `vxgate gate open {same}` opens it", style.bad("closed"))?;
        }
    }
    let separated = match vpg.privacy_separator {
        Some(true) => ", kept from each other",
        Some(false) => ", which reach each other",
        None => "",
    };
    if let Some(subnet) = vpg.device_subnet {
        writeln!(out, "  devices: {subnet}{separated}")?;
    }
    if let Some(subnet) = vpg.vpg_subnet {
        writeln!(out, "  from: {subnet}; let its UDP port {} in", vxgate_gate::GATE_PORT)?;
    }
    for route in &vpg.sim_routes {
        writeln!(out, "  behind a SIM: {route}")?;
    }
    for route in &vpg.unread_routes {
        writeln!(out, "  behind a SIM: {route}, which is no network")?;
    }
    writeln!(out)?;
    self::peers(out, format, peers)
}

/// Writes a line for each peer, or the API's own list.
pub(crate) fn peers(out: &mut dyn Write, format: Format, peers: &[GatePeer]) -> io::Result<()> {
    match format {
        Format::Text(_) => {
            let mut rows = vec![["outer", "inner", "owner"].map(str::to_owned)];
            rows.extend(peers.iter().map(|peer| {
                let owner = if peer.owned_by_customer { "a customer" } else { "the VPG" };
                [peer.outer_ip.to_string(), inner(peer), owner.to_owned()]
            }));
            table(out, &rows)
        }
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            for peer in peers {
                list.element(out, &ApiPeer::new(peer))?;
            }
            list.end(out)
        }
    }
}

/// Writes what a host was registered as, and the next step.
pub(crate) fn registered(
    out: &mut dyn Write,
    format: Format,
    peer: &GatePeer,
    opened: bool,
    same: &str,
) -> io::Result<()> {
    if !matches!(format, Format::Text(_)) {
        return json_line(out, format, &ApiPeer::new(peer));
    }
    writeln!(out, "{} is registered; its inner address is {}", peer.outer_ip, inner(peer))?;
    if opened {
        writeln!(out, "next, on that host: vxgate up {same} --local {}", peer.outer_ip)
    } else {
        writeln!(out, "next: vxgate gate open {same}")
    }
}

/// Writes that a host is no longer registered.
pub(crate) fn unregistered(out: &mut dyn Write, format: Format, outer: IpAddr) -> io::Result<()> {
    match format {
        Format::Text(_) => writeln!(out, "{outer} is no longer registered"),
        Format::Json | Format::PrettyJson => {
            json_line(out, format, &json!({ "outerIpAddress": outer, "registered": false }))
        }
    }
}

/// Writes that the gate is open, and the next step.
pub(crate) fn opened(out: &mut dyn Write, format: Format, vpg: &Vpg, same: &str) -> io::Result<()> {
    if !matches!(format, Format::Text(_)) {
        return json_line(out, format, &api_vpg(vpg));
    }
    match vpg.gate_vni {
        Some(vni) => writeln!(out, "the gate of {} is open under VNI {vni}", vpg.vpg_id)?,
        None => writeln!(out, "the gate of {} is open", vpg.vpg_id)?,
    }
    writeln!(out, "next, on a host that is registered: vxgate up {same}")
}

/// Writes that the gate is closed.
pub(crate) fn closed(out: &mut dyn Write, format: Format, vpg: &VpgId) -> io::Result<()> {
    match format {
        Format::Text(_) => writeln!(out, "the gate of {vpg} is closed"),
        Format::Json | Format::PrettyJson => {
            json_line(out, format, &json!({ "vpgId": vpg.as_str(), "gateOpened": false }))
        }
    }
}

/// The inner address, with its prefix as soon as the API says it.
fn inner(peer: &GatePeer) -> String {
    peer.address().map_or_else(|| peer.inner_ip.to_string(), |address| address.to_string())
}

fn json_line(out: &mut dyn Write, format: Format, value: &impl Serialize) -> io::Result<()> {
    let text = if format == Format::PrettyJson {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    writeln!(out, "{text}")
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const PEERS: &str = r#"[{"innerIpAddress":"10.192.158.4","netmask":"255.128.0.0","outerIpAddress":"100.64.158.4","ownedByCustomer":false},{"innerIpAddress":"10.225.194.171","netmask":null,"outerIpAddress":"172.21.0.100","ownedByCustomer":true}]"#;

    const VPG: &str = r#"{"vpgId": "a-1", "status": "running", "tags": {"name": "lab"}, "gateOpened": true,
        "gateVxlanId": 10, "gatePrivacySeparatorEnabled": true, "deviceSubnetCidrRange": "10.128.0.0/9",
        "vpgSubnetCidrRange": "100.64.158.0/24", "enableSimBasedRouting": true,
        "simBasedRoutingConfig": {"1": "192.168.1.0/24", "2": 7}}"#;

    #[test]
    fn peers_come_out_as_the_api_writes_them_and_read_back() {
        let peers = vxgate_gate::peers::parse(PEERS.as_bytes()).unwrap();
        let json = text(|out| super::peers(out, Format::Json, &peers));
        assert_eq!(json, format!("{PEERS}\n"));
        let pretty = text(|out| super::peers(out, Format::PrettyJson, &peers));
        assert_eq!(vxgate_gate::peers::parse(pretty.as_bytes()).unwrap(), peers);
        assert_eq!(
            text(|out| super::peers(out, Format::Text(Style::PLAIN), &peers)),
            "outer         inner           owner\n\
             100.64.158.4  10.192.158.4/9  the VPG\n\
             172.21.0.100  10.225.194.171  a customer\n"
        );
    }

    #[test]
    fn a_status_is_readable_and_its_json_has_the_apis_names() {
        let vpg = Vpg::parse(VPG.as_bytes()).unwrap();
        let plain = Format::Text(Style::PLAIN);
        assert_eq!(
            text(|out| status(out, plain, &vpg, &[], "--vpg-id a-1")),
            "VPG a-1 (lab): running\n  gate: open, VNI 10\n  devices: 10.128.0.0/9, kept from each other\n  \
             from: 100.64.158.0/24; let its UDP port 4789 in\n  behind a SIM: 192.168.1.0/24\n  \
             behind a SIM: 7, which is no network\n\nouter  inner  owner\n"
        );
        let closed = Vpg { gate_opened: false, ..vpg.clone() };
        let shown = text(|out| status(out, plain, &closed, &[], "--vpg-id a-1 --coverage g"));
        assert!(
            shown.contains("gate: closed; `vxgate gate open --vpg-id a-1 --coverage g` opens it"),
            "{shown}"
        );
        let json: Value =
            serde_json::from_str(&text(|out| status(out, Format::Json, &vpg, &[], ""))).unwrap();
        assert_eq!((&json["gateOpened"], &json["gateVxlanId"]), (&json!(true), &json!(10)));
        assert_eq!((&json["simRoutes"], &json["peers"]), (&json!(["192.168.1.0/24"]), &json!([])));
    }

    #[test]
    fn each_change_says_what_comes_next() {
        let peers = vxgate_gate::peers::parse(PEERS.as_bytes()).unwrap();
        let vpg = Vpg::parse(VPG.as_bytes()).unwrap();
        let plain = Format::Text(Style::PLAIN);
        let same = "--vpg-id a-1";
        assert_eq!(
            text(|out| registered(out, plain, &peers[1], false, same)),
            "172.21.0.100 is registered; its inner address is 10.225.194.171\nnext: vxgate gate open --vpg-id a-1\n"
        );
        let next = text(|out| registered(out, plain, &peers[1], true, same));
        assert!(
            next.ends_with("next, on that host: vxgate up --vpg-id a-1 --local 172.21.0.100\n"),
            "{next}"
        );
        assert_eq!(
            text(|out| opened(out, plain, &vpg, same)),
            "the gate of a-1 is open under VNI 10\nnext, on a host that is registered: vxgate up --vpg-id a-1\n"
        );
    }
}
