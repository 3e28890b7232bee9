//! The daemon as its operator sees it: how `vxgate up` fails and ends, what the control socket answers, what it costs.
//!
//! Each test runs the real binary in namespaces of its own:
//!
//! ```text
//!   you ── eth0 ─────────────── eth0 ── gate ── lo 100.64.158.4, .132
//!   172.21.0.100/24            172.21.0.1/24 ── vxlan0 10.192.158.4/9    the kernel's own, VNI 10
//!   2001:db8:21::100/64   2001:db8:21::1/64
//! ```

#[cfg(test)]
mod bench;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod control;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod doctor_gate;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod gate_api;
#[cfg(test)]
mod gate_peers;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod init;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod looking;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod mtu;
#[cfg(test)]
mod path;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod service;
#[cfg(test)]
mod several;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod vrrp;
#[cfg(test)]
mod workers;
