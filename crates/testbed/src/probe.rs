//! What this kernel can do.

use std::fs::OpenOptions;
use std::io;
use std::sync::OnceLock;

use vxgate_netlink::Vxlan;

use crate::host::Host;

/// Whether the kernel can make vxlan devices. Ask it where a [`Host`] can be made; elsewhere the answer is no.
pub fn kernel_has_vxlan() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Ok(host) = Host::new("probe") else { return false };
        let vxlan = Vxlan { vni: 1, ..Vxlan::default() };
        host.netlink(async |netlink| netlink.vxlan_add("probe0", &vxlan).await).is_ok()
    })
}

/// Whether a TAP device can be made by this process.
pub fn kernel_has_tun() -> bool {
    tun_obstacle().is_none()
}

/// Why `/dev/net/tun` cannot be opened, and what to do about it.
pub fn tun_obstacle() -> Option<String> {
    let error = OpenOptions::new().read(true).write(true).open("/dev/net/tun").err()?;
    let cure = if error.kind() == io::ErrorKind::PermissionDenied {
        "it must be readable and writable here: chmod 0666 /dev/net/tun"
    } else if error.kind() == io::ErrorKind::NotFound {
        "load the module (modprobe tun) or give the container --device /dev/net/tun"
    } else {
        "this kernel may lack CONFIG_TUN"
    };
    Some(format!("cannot open /dev/net/tun: {error}; {cure}"))
}
