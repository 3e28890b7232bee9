//! What the API says of a VPG's Gate, as far as a tunnel needs it; and what is new in it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use vxgate_codec::Vni;
use vxgate_gate::GatePeer;
use vxgate_gate::api::Vpg;
use vxgate_gate::setup::beyond_devices;

/// What the API says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether the Gate is open.
    pub(super) gate_opened: bool,
    /// Its VNI; `None` before it was ever open.
    pub(super) vni: Option<Vni>,
    /// Where the devices are: their subnet, and what lies behind SIMs.
    pub(super) networks: BTreeSet<IpNet>,
    /// Its peers and the customer's.
    pub(super) peers: Vec<GatePeer>,
}

impl Answer {
    pub(super) fn of(vpg: &Vpg, peers: Vec<GatePeer>) -> Answer {
        Answer {
            gate_opened: vpg.gate_opened,
            vni: vpg.gate_vni,
            networks: vpg.device_subnet.iter().chain(&vpg.sim_routes).copied().collect(),
            peers,
        }
    }

    /// The networks that a device with this address has to be told to route into the tunnel: not those that its prefix
    /// reaches already, nor those that are no device's.
    pub(super) fn routes(&self, address: IpNet) -> BTreeSet<IpNet> {
        let outside = |network: &&IpNet| !address.contains(*network) && beyond_devices(**network).is_none();
        self.networks.iter().filter(outside).copied().collect()
    }
}

/// What cannot be said in one line of a log when it is routine: what the VPG's object has that is worth a word.
pub(super) fn notices(vpg: &Vpg) -> Vec<String> {
    let mut notices = Vec::new();
    if vpg.status != "running" {
        notices.push(format!("the VPG is {}, and not running: the Gate may carry nothing", vpg.status));
    }
    for route in &vpg.unread_routes {
        notices
            .push(format!("the VPG's SIM-based routing names {route}, which is no network: it is left out"));
    }
    for network in vpg.device_subnet.iter().chain(&vpg.sim_routes) {
        if let Some(special) = beyond_devices(*network) {
            notices.push(format!(
                "{network} is not routed into the tunnel, though the VPG has it: it holds {special}, where no device is"
            ));
        }
    }
    few(notices)
}

/// Most sentences that are told of one answer: more than any VPG in order gives cause for.
const MOST: usize = 16;

/// The first of these sentences, and how many more there are: an answer with ten thousand faults has one, and is compared and told
/// again at every look.
pub(super) fn few(mut sentences: Vec<String>) -> Vec<String> {
    if sentences.len() > MOST {
        let more = sentences.split_off(MOST).len();
        sentences.push(format!("{more} more of the same kind"));
    }
    sentences
}

/// Sentences about what is new between two answers, for what a running tunnel cannot follow.
pub(super) fn news(before: &Answer, now: &Answer, own: IpAddr) -> Vec<String> {
    let registered = |answer: &Answer| {
        let mut ours =
            answer.peers.iter().filter(|peer| peer.owned_by_customer && peer.outer_ip.to_canonical() == own);
        ours.next().map(|peer| peer.inner_ip)
    };
    let mut news = Vec::new();
    match (before.gate_opened, now.gate_opened) {
        (true, false) => news.push(
            "the Gate is closed now: nothing passes until it is opened again (`vxgate gate open`)".to_owned(),
        ),
        (false, true) => news.push("the Gate is open again".to_owned()),
        (true, true) | (false, false) => {}
    }
    if let (Some(was), Some(is)) = (before.vni, now.vni)
        && was != is
    {
        news.push(format!("the Gate's VNI is {is} now, and was {was}: restart the tunnel to follow it"));
    }
    match (registered(before), registered(now)) {
        (Some(_), None) => news.push(format!(
            "{own} is no longer among the Gate peers: restart the tunnel to register it again"
        )),
        (Some(was), Some(is)) if was != is => news.push(format!(
            "this host's inner address is {is} now, and was {was}: restart the tunnel to follow it"
        )),
        (Some(_) | None, Some(_) | None) => {}
    }
    news
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The seed's VPG, open, with this host registered.
    pub(in crate::up::gate) fn seed() -> Answer {
        let json = br#"[
          {"innerIpAddress": "10.192.158.4", "netmask": "255.128.0.0", "outerIpAddress": "100.64.158.4", "ownedByCustomer": false},
          {"innerIpAddress": "10.192.158.132", "netmask": "255.128.0.0", "outerIpAddress": "100.64.158.132", "ownedByCustomer": false},
          {"innerIpAddress": "10.225.194.171", "netmask": null, "outerIpAddress": "172.21.0.100", "ownedByCustomer": true}]"#;
        Answer {
            gate_opened: true,
            vni: Vni::new(10),
            networks: BTreeSet::from(["10.128.0.0/9".parse().unwrap()]),
            peers: vxgate_gate::peers::parse(json).unwrap(),
        }
    }

    #[test]
    fn only_what_the_device_does_not_reach_already_is_routed() {
        let mut answer = seed();
        let address = "10.225.194.171/9".parse().unwrap();
        assert!(answer.routes(address).is_empty());
        let more: [IpNet; 3] =
            ["192.168.7.0/24", "10.129.0.5/32", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        answer.networks.extend(more);
        let routes: Vec<_> = answer.routes(address).iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["10.0.0.0/8", "192.168.7.0/24"]);
        answer.networks.extend(
            ["0.0.0.0/0", "128.0.0.0/1", "127.0.0.0/8"].map(|network| network.parse::<IpNet>().unwrap()),
        );
        assert_eq!(answer.routes(address).len(), 2, "the host's own ways are not the VPG's");
        assert_eq!(answer.routes("10.225.194.171/32".parse().unwrap()).len(), 4);
    }

    #[test]
    fn ten_thousand_faults_are_told_as_a_few() {
        let routes: Vec<String> = (0..10_000).map(|sim| format!(r#""{sim}": "nonsense""#)).collect();
        let json = format!(
            r#"{{"vpgId": "a", "status": "running", "gateOpened": true, "enableSimBasedRouting": true,
                "simBasedRoutingConfig": {{{}}}}}"#,
            routes.join(",")
        );
        let told = notices(&Vpg::parse(json.as_bytes()).unwrap());
        assert_eq!((told.len(), told[MOST].as_str()), (MOST + 1, "9984 more of the same kind"));
    }

    #[test]
    fn what_a_running_tunnel_cannot_follow_is_told_once() {
        let own = "172.21.0.100".parse().unwrap();
        let before = seed();
        assert!(news(&before, &before, own).is_empty());
        let now = Answer { gate_opened: false, vni: Vni::new(11), ..before.clone() };
        let told = news(&before, &now, own);
        assert!(told[0].contains("closed now") && told[1].contains("VNI is 11 now, and was 10"), "{told:?}");
        assert!(news(&now, &now, own).is_empty());
        assert_eq!(
            news(&Answer { vni: now.vni, ..now.clone() }, &Answer { gate_opened: true, ..now.clone() }, own),
            ["the Gate is open again"]
        );
        let gone = Answer { peers: before.peers[..2].to_vec(), ..before.clone() };
        assert!(news(&before, &gone, own)[0].contains("no longer among the Gate peers"));
        let mut moved = before.clone();
        moved.peers[2].inner_ip = "10.225.194.9".parse().unwrap();
        assert!(news(&before, &moved, own)[0].contains("inner address is 10.225.194.9 now"));
    }
}
