//! The seed's picture in namespaces: addresses as SORACOM's own examples have them.
//!
//! ```text
//!  you ─ eth0 ──── you ─ vpc ─ gate-a ──── eth0 ─ gate-a ─ cell ──── cell-a ─┐
//!  172.21.0.100/24       │    100.64.158.0/25   .4        192.0.2.0/30       ├─ device 10.129.0.5
//!                        └─ gate-b ──── eth0 ─ gate-b ─ cell ──── cell-b ────┘
//!                          100.64.158.128/25 .132        192.0.2.4/30
//! ```
//!
//! A Gate peer answers ARP for every device (proxy ARP) and routes to it, as a VPG does. Nothing here reaches beyond the
//! namespaces, and all of it goes when the process ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::thread;

use vxgate_fake_gate::FakeGate;
use vxgate_testbed::{Error, Host, KernelVxlan, link};

/// The customer's host.
pub(super) const YOU: &str = "172.21.0.100";
/// Its inner address, which the Gate registered for it.
pub(super) const YOU_INNER: &str = "10.225.194.171/9";
/// Outer and inner addresses of the two Gate peers.
pub(super) const GATES: [(&str, &str); 2] =
    [("100.64.158.4", "10.192.158.4"), ("100.64.158.132", "10.192.158.132")];
/// An address that either Gate peer answers for, as a VPG does for every device.
pub(super) const SERVICE: &str = "10.129.0.6";
/// The customer's network.
const VPC: &str = "172.21.0.0/16";
/// The router in front of each Gate peer.
const ROUTERS: [&str; 2] = ["100.64.158.1", "100.64.158.129"];
/// The device behind them.
pub(super) const DEVICE: &str = "10.129.0.5";

/// Where the API listens, if it does.
const API: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 21, 0, 1));

/// What the Gate peers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateKind {
    /// The kernel's vxlan devices.
    Kernel,
    /// vxgate itself.
    Vxgate,
}

/// How a Gate peer goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Outage {
    /// Its tunnel ends, and its host says so: port unreachable.
    Killed,
    /// Its cable is pulled.
    Unplugged,
    /// It is there, and says nothing any more.
    Silent,
}

impl Outage {
    pub(super) const ALL: [Outage; 3] = [Outage::Killed, Outage::Unplugged, Outage::Silent];

    /// The word for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Outage::Killed => "killed",
            Outage::Unplugged => "unplugged",
            Outage::Silent => "silent",
        }
    }
}

/// All hosts of the lab, with what runs on them.
pub(super) struct Ground {
    pub(super) you: Host,
    pub(super) vpc: Host,
    pub(super) gates: [Host; 2],
    pub(super) device: Host,
    /// Gate peers that are processes; killed when the lab ends.
    gate_processes: [Option<Child>; 2],
    kind: GateKind,
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in self.gate_processes.iter_mut().flatten() {
            // One that has ended by itself needs neither.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ground {
    /// Makes the hosts, the links between them and the device's web server.
    pub(super) fn lay() -> Result<Ground, Error> {
        let ground = Ground {
            you: Host::new("you")?,
            vpc: Host::new("vpc")?,
            gates: [Host::new("gate-a")?, Host::new("gate-b")?],
            device: Host::new("device")?,
            gate_processes: [None, None],
            kind: GateKind::Kernel,
        };
        let Ground { you, vpc, gates, device, .. } = &ground;

        link(you, "eth0", vpc, "you")?;
        you.address("eth0", &format!("{YOU}/24"))?;
        vpc.address("you", "172.21.0.1/24")?;
        you.route("0.0.0.0/0", "172.21.0.1")?;
        vpc.forward()?;

        device.address("lo", &format!("{DEVICE}/32"))?;
        let sides = [
            ("gate-a", "100.64.158.1", "cell-a", "192.0.2.1", "192.0.2.2"),
            ("gate-b", "100.64.158.129", "cell-b", "192.0.2.5", "192.0.2.6"),
        ];
        for ((gate, (outer, _)), (vpc_link, router, cell_link, gate_cell, device_cell)) in
            gates.iter().zip(GATES).zip(sides)
        {
            link(vpc, vpc_link, gate, "eth0")?;
            vpc.address(vpc_link, &format!("{router}/25"))?;
            gate.address("eth0", &format!("{outer}/25"))?;
            gate.route(VPC, router)?;
            gate.address("lo", &format!("{SERVICE}/32"))?;
            gate.forward()?;

            link(gate, "cell", device, cell_link)?;
            gate.address("cell", &format!("{gate_cell}/30"))?;
            device.address(cell_link, &format!("{device_cell}/30"))?;
            gate.route(&format!("{DEVICE}/32"), device_cell)?;
        }
        // Answers may leave by the other Gate peer than their requests came by.
        for host in [&gates[0], &gates[1], device] {
            host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        }
        device.route("10.128.0.0/9", "192.0.2.1")?;
        Ok(ground)
    }

    /// Starts the Gate peers.
    pub(super) fn open_gates(&mut self, kind: GateKind) -> anyhow::Result<()> {
        self.kind = kind;
        (0..GATES.len()).try_for_each(|gate| self.open_gate(gate))
    }

    /// Starts one of them, for the first time or again.
    pub(super) fn open_gate(&mut self, index: usize) -> anyhow::Result<()> {
        let (gate, (outer, inner)) = (&self.gates[index], GATES[index]);
        let address = format!("{inner}/9");
        match self.kind {
            GateKind::Kernel => {
                KernelVxlan::new(outer).peer(YOU).address(&address).create(gate)?;
            }
            GateKind::Vxgate => {
                let mut command = gate.command("/proc/self/exe");
                command
                    .args(["up", "--dev", "vxlan0", "--local", outer, "--peer", YOU, "--address", &address])
                    .env("VXGATE_RUNTIME_DIR", format!("/run/{}", gate.name()))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                self.gate_processes[index] = Some(command.spawn()?);
                let up = vxgate_testbed::eventually(super::PATIENCE, || gate.up("vxlan0").is_ok());
                anyhow::ensure!(up, "the Gate peer on {} did not come up", gate.name());
            }
        }
        // A VPG answers ARP for its devices, at once.
        gate.sysctl("net/ipv4/conf/vxlan0/proxy_arp", "1")?;
        gate.sysctl("net/ipv4/neigh/vxlan0/proxy_delay", "0")?;
        gate.sysctl("net/ipv4/conf/vxlan0/rp_filter", "0")?;
        Ok(())
    }

    /// Takes a Gate peer away.
    pub(super) fn take_away(&mut self, index: usize, how: Outage) -> anyhow::Result<()> {
        let gate = &self.gates[index];
        match (how, &mut self.gate_processes[index]) {
            (Outage::Killed, Some(process)) => {
                process.kill()?;
                process.wait()?;
            }
            (Outage::Killed, None) => {
                gate.netlink(async |netlink| {
                    netlink.link_delete(&netlink.link_by_name("vxlan0").await?).await
                })?;
            }
            (Outage::Unplugged, _) => gate.down("eth0")?,
            // It hears, and what it says goes nowhere.
            (Outage::Silent, _) => gate.netlink(async |netlink| {
                let link = netlink.link_by_name("eth0").await?;
                netlink.route_delete(VPC.parse().expect("a network"), &link, None).await
            })?,
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) fn give_back(&mut self, index: usize, how: Outage) -> anyhow::Result<()> {
        match how {
            Outage::Killed => self.open_gate(index)?,
            Outage::Unplugged => {
                self.gates[index].up("eth0")?;
                // Its route went with the link.
                self.gates[index].route(VPC, ROUTERS[index])?;
            }
            Outage::Silent => self.gates[index].route(VPC, ROUTERS[index])?,
        }
        Ok(())
    }

    /// Frames that a Gate peer has taken off its tunnel so far.
    pub(super) fn received(&self, index: usize) -> Result<u64, Error> {
        let counters =
            self.gates[index].netlink(async |netlink| Ok(netlink.link_by_name("vxlan0").await?.counters))?;
        Ok(counters.rx_frames)
    }

    /// Starts the device's web server: one small page, for as long as the process lives.
    pub(super) fn serve_page(&self) -> anyhow::Result<()> {
        let server = self.device.run(|| tiny_http::Server::http((DEVICE, 80)));
        let server =
            server.map_err(|error| anyhow::anyhow!("the device's web server does not start: {error}"))?;
        thread::Builder::new().name("device-page".into()).spawn(move || {
            for request in server.incoming_requests() {
                let asker = request.remote_addr().map_or_else(String::new, |asker| asker.ip().to_string());
                let page = format!(
                    "<!doctype html><title>device</title><h1>Hello from the device</h1><p>{asker} reached {DEVICE} through the Gate.</p>\n"
                );
                let html = tiny_http::Header::from_bytes("Content-Type", "text/html; charset=utf-8")
                    .expect("a header of printable ASCII");
                // A caller that went away misses its page.
                let _ = request.respond(tiny_http::Response::from_string(page).with_header(html));
            }
        })?;
        Ok(())
    }

    /// Starts the API on `vpc`, which `you` reaches without any tunnel.
    pub(super) fn serve_api(&self) -> io::Result<FakeGate> {
        let address = SocketAddr::new(API, 0);
        self.vpc.run(|| FakeGate::start_on(address))
    }

    /// What makes the kernel's name for each host, for `--keep`.
    pub(super) fn hosts(&self) -> [&Host; 5] {
        [&self.you, &self.vpc, &self.gates[0], &self.gates[1], &self.device]
    }
}

/// What the page says, as fetched from `you`.
pub(super) fn fetch(you: &Host) -> io::Result<(u16, String)> {
    you.run(|| {
        let agent = ureq::Agent::config_builder().timeout_global(Some(super::PATIENCE)).build().new_agent();
        let mut answer = agent.get(format!("http://{DEVICE}/")).call().map_err(io::Error::other)?;
        let page = answer.body_mut().read_to_string().map_err(io::Error::other)?;
        Ok((answer.status().as_u16(), page))
    })
}
