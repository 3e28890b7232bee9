//! Two hosts with a link between them, and the data plane that carries their overlay: one at a time.
//!
//! ```text
//!   near ── eth0 ──────────── eth0 ── far         MTU 1500
//!    │  192.0.2.1          192.0.2.2  │
//!   vxlan0 198.51.100.1/24           vxlan0 198.51.100.2/24, MTU 1450, VNI 10
//! ```

use std::fs;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::Context as _;
use vxgate_load::Stop;
use vxgate_testbed::{Host, KernelVxlan, Ping, eventually, link, plain_nic};

use super::model::LinkMode;
use crate::tunnel::Tunnel;

/// The addresses are documentation's (RFC 5737).
const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
const LINK: &str = "eth0";
const DEV: &str = "vxlan0";

/// Inner MTU of both data planes: 1500 less outer IPv4, UDP, VXLAN and inner Ethernet headers.
pub(super) const MTU_OCTETS: u32 = 1450;

/// How long a data plane may take to carry its first packet.
const PATIENCE: Duration = Duration::from_secs(10);

/// What carries the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    /// `vxgate up` on both hosts.
    Vxgate,
    /// The kernel's vxlan devices.
    Kernel,
}

impl Plane {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Plane::Vxgate => "vxgate",
            Plane::Kernel => "kernel vxlan",
        }
    }
}

/// The two hosts.
pub(super) struct Ground {
    pub(super) near: Host,
    pub(super) far: Host,
}

impl Ground {
    /// Makes them and the link.
    pub(super) fn lay(mode: LinkMode) -> Result<Ground, vxgate_testbed::Error> {
        let ground = Ground { near: Host::new("near")?, far: Host::new("far")? };
        let Ground { near, far } = &ground;
        for host in [near, far] {
            // Without them the link would carry what nobody measures: neighbour and router discovery. A kernel without
            // IPv6 has no such setting.
            let _ = host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
            let _ = host.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
            // What TCP learns of one data plane is not for the other.
            let _ = host.sysctl("net/ipv4/tcp_no_metrics_save", "1");
            // Some thousand connections of a run wait for stray segments (TIME-WAIT) at its end, not tens of thousands,
            // which the kernel would complain about.
            let _ = host.sysctl("net/ipv4/ip_local_port_range", "32768 40959");
        }
        link(near, LINK, far, LINK)?;
        for (host, outer) in [near, far].into_iter().zip(OUTER) {
            host.address(LINK, &format!("{outer}/24"))?;
            match mode {
                LinkMode::Superframes => {}
                LinkMode::Wire => plain_nic(host, LINK)?,
            }
        }
        Ok(ground)
    }

    /// The overlay's address at the near end.
    pub(super) fn near_inner() -> IpAddr {
        INNER[0].parse().expect("a constant address")
    }

    /// The overlay's address at the far end.
    pub(super) fn far_inner() -> IpAddr {
        INNER[1].parse().expect("a constant address")
    }

    /// Brings a data plane up on both hosts and waits until it carries; `up_options` are for `vxgate up`.
    ///
    /// Call it from a thread that lives as long as the data plane: it is killed with the thread.
    pub(super) fn carry(
        &self,
        plane: Plane,
        up_options: &[String],
        stop: &Stop,
    ) -> anyhow::Result<Carrier<'_>> {
        let mut carrier = Carrier { ground: self, tunnels: Vec::new(), kernel: plane == Plane::Kernel };
        for (index, host) in [&self.near, &self.far].into_iter().enumerate() {
            let (outer, peer) = (OUTER[index], OUTER[1 - index]);
            let address = format!("{}/24", INNER[index]);
            match plane {
                Plane::Kernel => {
                    let device = KernelVxlan::new(outer).peer(peer).address(&address);
                    device.with(|settings| settings.mtu = Some(MTU_OCTETS)).create(host)?;
                }
                Plane::Vxgate => {
                    let mut command = host.command("/proc/self/exe");
                    let mtu = MTU_OCTETS.to_string();
                    command
                        .arg0("vxgate")
                        .args(["up", "--dev", DEV, "--local", outer, "--peer", peer])
                        .args(["--address", &address, "--mtu", &mtu])
                        .args(up_options)
                        .env("VXGATE_RUNTIME_DIR", format!("/run/{}", host.name()));
                    let tunnel = Tunnel::start(&mut command).context("vxgate cannot be started")?;
                    carrier.tunnels.push(tunnel);
                }
            }
        }
        carrier.wait(stop)?;
        Ok(carrier)
    }
}

/// A data plane that carries; taken down when it is dropped.
pub(super) struct Carrier<'a> {
    ground: &'a Ground,
    tunnels: Vec<Tunnel>,
    kernel: bool,
}

impl Carrier<'_> {
    /// Waits until a packet came through, there and back.
    fn wait(&mut self, stop: &Stop) -> anyhow::Result<()> {
        let mut answered = false;
        let _ = eventually(PATIENCE, || {
            let timeout = Duration::from_millis(200);
            let ping = Ping { count: 1, timeout, ..Ping::new(Ground::far_inner()) };
            answered = self.ground.near.run(|| ping.run()).is_ok_and(|report| report.all_answered());
            answered || stop.is_stopped() || self.tunnels.iter_mut().any(Tunnel::has_ended)
        });
        anyhow::ensure!(answered || stop.is_stopped(), "it carries nothing{}", self.said());
        Ok(())
    }

    /// Why nothing could be measured: where a tunnel has ended, it is what that said.
    pub(super) fn explain(&mut self, error: vxgate_load::Error) -> anyhow::Error {
        if self.tunnels.iter_mut().any(Tunnel::has_ended) {
            anyhow::anyhow!("{error}, and a tunnel has ended{}", self.said())
        } else {
            error.into()
        }
    }

    fn said(&self) -> String {
        self.tunnels.iter().map(|tunnel| format!("; it said:\n{}", tunnel.log())).collect()
    }

    /// The most memory that one of its processes has had resident so far, in octets (`VmHWM` of proc_pid_status(5)).
    pub(super) fn resident_octets(&self) -> Option<u64> {
        let of = |tunnel: &Tunnel| {
            let status = fs::read_to_string(format!("/proc/{}/status", tunnel.pid())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes * 1024)
        };
        self.tunnels.iter().filter_map(of).max()
    }

    /// Takes it down.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        for tunnel in &mut self.tunnels {
            tunnel.end()?;
        }
        self.delete()?;
        Ok(())
    }

    fn delete(&mut self) -> Result<(), vxgate_testbed::Error> {
        if std::mem::take(&mut self.kernel) {
            for host in [&self.ground.near, &self.ground.far] {
                host.netlink(async |netlink| netlink.link_delete(&netlink.link_by_name(DEV).await?).await)?;
            }
        }
        Ok(())
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        // The host goes soon after where this fails.
        let _ = self.delete();
    }
}

#[cfg(test)]
mod tests {
    use vxgate_testbed::{isolated, kernel_has_vxlan, skip, tcp};

    use super::*;

    /// Frames that the near end of the link sends, and that the far end's device brings up, for a megabyte over the
    /// kernel's device.
    fn frames_of_a_megabyte(mode: LinkMode) -> (u64, u64) {
        let ground = Ground::lay(mode).unwrap();
        let carrier = ground.carry(Plane::Kernel, &[], &Stop::new()).unwrap();
        let sent = |host: &Host, device: &str, count: fn(&vxgate_testbed::LinkCounters) -> u64| {
            let link = host.netlink(async |netlink| netlink.link_by_name(device).await).unwrap();
            count(&link.counters)
        };
        let look = || {
            (
                sent(&ground.near, LINK, |counters| counters.tx_frames),
                sent(&ground.far, DEV, |counters| counters.rx_frames),
            )
        };
        let before = look();
        let (far, limit) = (Ground::far_inner(), Duration::from_secs(20));
        let transfer = tcp::transfer(&ground.near, &ground.far, far, 1 << 20, limit).unwrap();
        assert!(transfer.intact, "{transfer:?}");
        let after = look();
        carrier.end().unwrap();
        (after.0 - before.0, after.1 - before.1)
    }

    #[test]
    fn a_link_passes_superframes_and_in_wire_mode_cuts_and_joins_them_as_a_plain_nic() {
        isolated!(|| {
            if !kernel_has_vxlan() {
                return skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
            }
            // 1398 octets of payload in a packet: the MTU less 20 of IPv4 and 32 of TCP with timestamps.
            let packets = (1_u64 << 20).div_ceil(1398);
            let (sent, received) = frames_of_a_megabyte(LinkMode::Superframes);
            println!("superframes: {sent} sent, {received} received; a wire takes {packets}");
            assert!(sent < packets / 4, "{sent}");
            let (sent, received) = frames_of_a_megabyte(LinkMode::Wire);
            println!("wire: {sent} sent, {received} received");
            assert!((packets..packets * 2).contains(&sent), "{sent}");
            assert!(received < sent / 2, "GRO joins them: {received} of {sent}");
        });
    }
}
