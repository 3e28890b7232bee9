//! What has to be done at the API before the tunnel can come up: decided before any of it is done.

use std::net::IpAddr;

use ipnet::IpNet;
use vxgate_codec::Vni;
use vxgate_gate::setup::{self, Local};
use vxgate_gate::{GatePeer, Own, SetupError, VpgPeer};

use super::answer::Answer;
use super::error::GateError;

/// What the operator and the host say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// `--local`.
    pub(super) local: Option<IpAddr>,
    /// `--vni`.
    pub(super) vni: Option<Vni>,
    /// `--address`, the first.
    pub(super) address: Option<IpNet>,
    /// `--open-gate`.
    pub(super) open_gate: bool,
    /// The addresses of this host.
    pub(super) here: &'a [IpAddr],
    /// The address that the route to the first VPG peer uses.
    pub(super) towards_vpg: Option<IpAddr>,
}

/// What to do at the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// The VPG's peers.
    pub(super) peers: Vec<VpgPeer>,
    /// How this host is registered; `None` where it has to be.
    pub(super) own: Option<Own>,
    /// The outer address to register, and the inner one where that is chosen.
    pub(super) register: Option<(IpAddr, Option<IpAddr>)>,
    /// Open the Gate, under this VNI where one is said.
    pub(super) open: Option<Option<Vni>>,
}

/// Decides.
pub(super) fn intend(answer: &Answer, wanted: Wanted<'_>) -> Result<Intent, GateError> {
    let peers = setup::vpg_side(&answer.peers)?;
    let open = match (answer.gate_opened, wanted.open_gate) {
        (true, _) => None,
        // The API's own default would take the place of the VNI that the Gate had.
        (false, true) => Some(wanted.vni.or(answer.vni)),
        (false, false) => return Err(GateError::Closed),
    };
    let local = wanted.local.map_or(Local::AnyOf(wanted.here), Local::Given);
    let (own, register) = match own(&answer.peers, local, wanted.address) {
        Ok(own) => (Some(own), None),
        Err(SetupError::NotRegistered { .. }) => {
            let outer = wanted.local.or(wanted.towards_vpg).ok_or(GateError::NoLocal)?;
            // What is registered is what this host will send from: another address would be registered for nothing.
            if !wanted.here.contains(&outer) {
                return Err(GateError::LocalNotHere { local: outer });
            }
            (None, Some((outer, wanted.address.map(|address| address.addr()))))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Intent { peers, own, register, open })
}

/// This host's entry. A prefix that it does not say, or not so that it can be, is that of the address that is given.
pub(super) fn own(peers: &[GatePeer], local: Local<'_>, address: Option<IpNet>) -> Result<Own, SetupError> {
    match (setup::own(peers, local), address) {
        (Err(SetupError::NoNetmask { outer } | SetupError::BeyondDevices { outer, .. }), Some(address)) => {
            Ok(Own { outer, address })
        }
        (own, _) => own,
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::seed;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn wanted(here: &[IpAddr]) -> Wanted<'_> {
        Wanted {
            local: None,
            vni: None,
            address: None,
            open_gate: false,
            here,
            towards_vpg: here.first().copied(),
        }
    }

    #[test]
    fn a_host_that_is_registered_at_an_open_gate_needs_nothing() {
        let intent = intend(&seed(), wanted(&[ip("172.21.0.100")])).unwrap();
        assert_eq!((intent.register, intent.open, intent.peers.len()), (None, None, 2));
        assert_eq!(intent.own.unwrap().address.to_string(), "10.225.194.171/9");
    }

    #[test]
    fn a_host_that_is_not_is_registered_by_local_or_by_the_way_to_the_vpg() {
        let here = [ip("172.21.0.7"), ip("172.21.0.8")];
        let intent = intend(&seed(), wanted(&here)).unwrap();
        assert_eq!((intent.register, intent.own), (Some((here[0], None)), None));
        let given =
            Wanted { local: Some(here[1]), address: Some("10.225.0.1/9".parse().unwrap()), ..wanted(&here) };
        assert_eq!(intend(&seed(), given).unwrap().register, Some((here[1], Some(ip("10.225.0.1")))));
        let elsewhere = Wanted { local: Some(ip("172.21.0.9")), ..wanted(&here) };
        assert!(matches!(intend(&seed(), elsewhere), Err(GateError::LocalNotHere { .. })));
        assert!(matches!(intend(&seed(), wanted(&[])), Err(GateError::NoLocal)));
    }

    #[test]
    fn an_address_that_is_given_says_the_prefix_that_no_entry_does() {
        let mut answer = seed();
        answer.peers.iter_mut().for_each(|peer| peer.netmask = None);
        let here = [ip("172.21.0.100")];
        let refused = intend(&answer, wanted(&here));
        assert!(matches!(refused, Err(GateError::Setup(SetupError::NoNetmask { .. }))), "{refused:?}");
        let address = "10.225.194.171/9".parse().unwrap();
        let intent = intend(&answer, Wanted { address: Some(address), ..wanted(&here) }).unwrap();
        assert_eq!((intent.own, intent.register), (Some(Own { outer: here[0], address }), None));
    }

    #[test]
    fn a_closed_gate_is_told_before_anything_is_done_or_opened_where_that_is_said() {
        let closed = Answer { gate_opened: false, vni: None, ..seed() };
        let here = [ip("172.21.0.7")];
        assert!(matches!(intend(&closed, wanted(&here)), Err(GateError::Closed)));
        let open = |answer: &Answer, vni| {
            intend(answer, Wanted { open_gate: true, vni, ..wanted(&here) }).unwrap().open
        };
        assert_eq!(open(&closed, None), Some(None));
        assert_eq!(open(&closed, Vni::new(7)), Some(Vni::new(7)));
        let reopened = Answer { vni: Vni::new(9), ..closed };
        assert_eq!(open(&reopened, None), Some(Vni::new(9)), "the VNI that it had");
        assert_eq!(open(&seed(), Vni::new(7)), None, "an open one stays as it is");
    }
}
