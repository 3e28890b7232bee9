//! What every scenario needs: the device under test, hosts and cables around it, frames and datagrams.

mod bench;
mod device;
mod frame;
mod lan;
mod wire;

use std::fmt::Debug;

use vxgate_testbed::{kernel_has_vxlan, skip, tun_obstacle};

pub(crate) use bench::{Bench, remote};
pub(crate) use device::{DEV, Device, Options, PATIENCE, SourcePorts, State, Tunnel};
pub(crate) use frame::{BROADCAST, Inner, Mac, datagram, frame, header, mac, multicast, tagged, tos_of};
pub(crate) use lan::{Ears, Lan, Layout};
pub(crate) use wire::{Checksum, Datagram, Outer};

/// The underlay's IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Family; 2] = [Family::V4, Family::V6];
}

/// Whether scenarios can be run here; where not, it says so.
pub(crate) fn ready() -> bool {
    if !kernel_has_vxlan() {
        skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        return false;
    }
    if let Some(obstacle) = tun_obstacle() {
        skip(&obstacle);
        return false;
    }
    true
}

/// The verdict that the kernel's device and vxgate agree on.
pub(crate) fn agreed<V: Debug + PartialEq>(scenario: impl Fn(Device) -> V) -> V {
    let [kernel, vxgate] = Device::BOTH.map(scenario);
    assert_eq!(vxgate, kernel, "vxgate (left) decides otherwise than the kernel's device (right)");
    vxgate
}
