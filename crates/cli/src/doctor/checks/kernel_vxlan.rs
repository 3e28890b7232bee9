//! The kernel's own vxlan devices: one on the same UDP port and this tunnel take it from each other, whichever comes up first.

use vxgate_netlink::{Netlink, Vxlan};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;

/// A device and what it is set to.
struct Device {
    name: String,
    up: bool,
    settings: Vxlan,
}

pub(crate) async fn check(subject: &Subject, host: &Host, netlink: &Netlink) -> Vec<Finding> {
    let mut devices = Vec::new();
    for link in host.links.iter().filter(|link| link.kind.as_deref() == Some("vxlan")) {
        if let Ok(settings) = netlink.vxlan_settings(link).await {
            devices.push(Device { name: link.name.clone(), up: link.up, settings });
        }
    }
    let same: Vec<Finding> = devices
        .iter()
        .filter(|device| device.settings.port == subject.config.port)
        .map(|device| judge(device, subject.config.vni.get()))
        .collect();
    if same.is_empty() {
        let found = format!("no vxlan device of the kernel has UDP port {}", subject.config.port);
        return vec![Finding::ok(Check::KernelVxlan, found)];
    }
    same
}

fn judge(device: &Device, vni: u32) -> Finding {
    let Device { name, up, settings } = device;
    let state = if *up { "up" } else { "down" };
    let twin = if settings.vni == vni { ", the same VNI" } else { "" };
    Finding::warn(
        Check::KernelVxlan,
        format!(
            "{name} is a vxlan device of the kernel on the same UDP port {}{twin}, and {state}: only one of the two can have the port",
            settings.port
        ),
        format!(
            "take it away where this tunnel replaces it: ip link del {name} (and what makes it at boot, such as init_vxlan.sh)"
        ),
    )
}
