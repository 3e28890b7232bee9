//! The tunnel's MTU against the underlay's.

use vxgate_netlink::Link;

use super::route::Ways;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::mtu::{self, carried};

/// The MTU, where there can be one, and what there is to say of it.
pub(crate) fn check(
    subject: &Subject,
    host: &Host,
    carrier: Option<&Link>,
    ways: &Ways,
) -> (Option<u32>, Vec<Finding>) {
    let carried = ways.iter().filter_map(|(peer, way)| {
        let carried = carried(&subject.config, &host.links, *peer, way.as_ref().ok()?.as_ref())?;
        Some(u32::from(carried))
    });
    // Without a link to ask, Ethernet's own.
    let outer = carried.min().unwrap_or_else(|| carrier.map_or(1500, |link| link.mtu));
    let mut notices = Vec::new();
    match mtu::device_mtu(&subject.config, outer, &mut notices) {
        Err(error) => (None, vec![Finding::refusal(Check::Mtu, &error)]),
        Ok(mtu) if notices.is_empty() => {
            let on = carrier.map_or_else(String::new, |link| format!(", on {} with {}", link.name, link.mtu));
            (Some(mtu), vec![Finding::ok(Check::Mtu, format!("{mtu} octets inside{on}"))])
        }
        Ok(mtu) => {
            let next_step =
                format!("--mtu auto fits by itself; while it runs: ip link set {} mtu N", subject.config.dev);
            let warn = |notice: String| Finding::warn(Check::Mtu, notice, &next_step);
            (Some(mtu), notices.into_iter().map(warn).collect())
        }
    }
}
