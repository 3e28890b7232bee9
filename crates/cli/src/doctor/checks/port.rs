//! The UDP port: free, or whose. It is found out by binding it for a moment, as `up` would.

use std::io;
use std::net::{IpAddr, SocketAddr};

use vxgate_netlink::Netlink;
use vxgate_sys::udp::{self, UdpOptions};

use crate::config::values::SourcePort;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::up::error::UpError;
use crate::up::owner::port_owner;

pub(crate) async fn check(subject: &Subject, netlink: &Netlink, local: Option<IpAddr>) -> Vec<Finding> {
    let (false, Some(local)) = (subject.may_run(), local) else { return Vec::new() };
    let config = &subject.config;
    let mut ports = vec![config.port];
    match &config.source_port {
        SourcePort::Fixed(port) if *port != config.port => ports.push(*port),
        SourcePort::Fixed(_) | SourcePort::Hash(_) => {}
    }
    let mut findings = Vec::new();
    for port in ports {
        let address = SocketAddr::new(local, port);
        // Whatever arrives in that moment is for nobody.
        let options = UdpOptions { only_send: true, ..UdpOptions::new(address) };
        findings.push(match udp::bind(&options) {
            Ok(_) => Finding::ok(Check::Port, format!("UDP port {port} of {local} is free")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let owner = port_owner(netlink, address).await;
                Finding::refusal(Check::Port, &UpError::PortTaken { address, owner })
            }
            Err(source) => Finding::refusal(Check::Port, &UpError::Socket { address, source }),
        });
    }
    findings
}
