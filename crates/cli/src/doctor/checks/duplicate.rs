//! Whether somebody else has an inner address of this end.

use std::net::Ipv4Addr;

use vxgate_codec::MacAddr;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::doctor::window::Window;

pub(crate) fn check(subject: &Subject, host: &Host, window: &Window) -> Vec<Finding> {
    let Some(link) = host.link(subject.config.dev.as_str()).filter(|_| subject.running.is_some()) else {
        return Vec::new();
    };
    let next_step = "give each end an address of its own: compare with the innerIpAddress of each Gate peer";
    let mut findings: Vec<Finding> = host
        .addresses
        .iter()
        .filter(|address| address.link == link.index && address.duplicate)
        .map(|address| {
            let found =
                format!("somebody else in the overlay has {}: the kernel does not use it", address.ip.addr());
            Finding::fail(Check::Duplicate, found, next_step)
        })
        .collect();
    match &window.duplicates {
        Some(Ok(others)) => findings.extend(others.iter().map(|(ip, mac)| answered(*ip, *mac, next_step))),
        Some(Err(error)) if findings.is_empty() => {
            return vec![Finding::advice(
                Check::Duplicate,
                format!("nobody can be asked: {error}"),
                "run the doctor as root, or with CAP_NET_RAW; the device must be up",
            )];
        }
        Some(Err(_)) | None => {}
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            Check::Duplicate,
            "nobody else in the overlay answers for this end's addresses",
        ));
    }
    findings
}

fn answered(ip: Ipv4Addr, mac: [u8; 6], next_step: &str) -> Finding {
    Finding::fail(
        Check::Duplicate,
        format!("{} in the overlay answers for {ip}, too", MacAddr::new(mac)),
        next_step,
    )
}
