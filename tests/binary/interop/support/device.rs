//! The device under test: the kernel's vxlan device or vxgate, started and controlled by the same words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use vxgate_codec::ReservedBits;
use vxgate_netlink::{DontFragment, FdbEntry, FdbState, Link, TimeToLive, TypeOfService};
use vxgate_testbed::{Host, KernelVxlan, eventually};

use super::frame::{Mac, show};

/// The device's name in every scenario.
pub(crate) const DEV: &str = "vxlan0";

/// Longest time for anything that happens at once: reached only on failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What stands in the place of the VTEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Kernel,
    Vxgate,
}

impl Device {
    pub(crate) const BOTH: [Device; 2] = [Device::Kernel, Device::Vxgate];
}

/// Source ports of outer datagrams.
#[derive(Debug, Clone)]
pub(crate) enum SourcePorts {
    /// Always 4789.
    Pinned,
    /// From this range, by the flow.
    Hash(RangeInclusive<u16>),
}

/// What the device is started with; the defaults are those of either device, but for the kernel's port.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: IpAddr,
    pub(crate) underlay: Option<&'static str>,
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) mtu: Option<u32>,
    pub(crate) learning: bool,
    pub(crate) ageing_s: u32,
    pub(crate) max_macs: Option<u32>,
    pub(crate) reserved_bits: Option<ReservedBits>,
    /// vxgate only: the kernel takes frames from anyone.
    pub(crate) accept_from: Vec<&'static str>,
    pub(crate) ttl: TimeToLive,
    pub(crate) tos: TypeOfService,
    pub(crate) df: DontFragment,
    pub(crate) udp_checksum: bool,
    pub(crate) source_ports: Option<SourcePorts>,
    /// The kernel only: vxgate has a stable one by itself.
    pub(crate) kernel_mac: Option<Mac>,
}

impl Options {
    pub(crate) fn new(local: IpAddr) -> Options {
        Options {
            vni: 10,
            port: 4789,
            local,
            underlay: None,
            peers: Vec::new(),
            addresses: Vec::new(),
            mtu: None,
            learning: true,
            ageing_s: 300,
            max_macs: None,
            reserved_bits: None,
            accept_from: Vec::new(),
            ttl: TimeToLive::Auto,
            tos: TypeOfService::Fixed(0),
            df: DontFragment::Unset,
            udp_checksum: true,
            source_ports: None,
            kernel_mac: None,
        }
    }

    /// The kernel's device with these settings.
    pub(crate) fn kernel(&self, host: &Host) -> KernelVxlan {
        let mut vxlan = KernelVxlan::default();
        let settings = &mut vxlan.settings;
        settings.vni = self.vni;
        settings.port = self.port;
        settings.local = Some(self.local);
        let group = self.peers.iter().copied().find(IpAddr::is_multicast);
        settings.group = group;
        // Without a link to ask, the kernel's MTU is 1500; with one, it refuses an MTU that does not fit.
        if self.mtu.is_none() || group.is_some() {
            let link = self.underlay.unwrap_or("eth0");
            let link = host.netlink(async |netlink| netlink.link_by_name(link).await).unwrap();
            settings.underlay = Some(link.index);
        }
        settings.mtu = self.mtu;
        settings.learning = self.learning;
        settings.ageing = Duration::from_secs(self.ageing_s.into());
        settings.limit = self.max_macs;
        settings.reserved_bits = match self.reserved_bits {
            Some(ReservedBits::Ignore) => Some(0),
            Some(ReservedBits::Reject) | None => None,
        };
        settings.ttl = self.ttl;
        settings.tos = self.tos;
        settings.df = self.df;
        settings.udp_checksum = self.udp_checksum;
        settings.udp6_zero_checksum_tx = !self.udp_checksum;
        settings.udp6_zero_checksum_rx = !self.udp_checksum;
        settings.source_ports = match &self.source_ports {
            // A range of one port is no range to the kernel; of two it takes the first.
            Some(SourcePorts::Pinned) => Some(4789..=4790),
            Some(SourcePorts::Hash(range)) => Some(range.clone()),
            None => None,
        };
        settings.mac = self.kernel_mac;
        vxlan.peers = self.peers.iter().copied().filter(|peer| !peer.is_multicast()).collect();
        vxlan.addresses = self.addresses.iter().map(|address| (*address).to_owned()).collect();
        vxlan
    }

    /// The arguments of `vxgate up`.
    fn arguments(&self) -> Vec<String> {
        let mut line = vec!["up".to_owned()];
        let mut option = |name: &str, value: String| line.extend([format!("--{name}"), value]);
        option("dev", DEV.to_owned());
        option("vni", self.vni.to_string());
        option("port", self.port.to_string());
        option("local", self.local.to_string());
        self.underlay.iter().for_each(|link| option("underlay", (*link).to_owned()));
        self.peers.iter().for_each(|peer| option("peer", peer.to_string()));
        self.addresses.iter().for_each(|address| option("address", (*address).to_owned()));
        self.mtu.iter().for_each(|mtu| option("mtu", mtu.to_string()));
        let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
        option("learning", on_off(self.learning));
        option("ageing", self.ageing_s.to_string());
        self.max_macs.iter().for_each(|limit| option("max-macs", limit.to_string()));
        self.reserved_bits.iter().for_each(|policy| option("reserved-bits", policy.to_string()));
        self.accept_from.iter().for_each(|network| option("accept-from", (*network).to_owned()));
        match self.ttl {
            TimeToLive::Auto => {}
            TimeToLive::Inherit => option("ttl", "inherit".to_owned()),
            TimeToLive::Fixed(ttl) => option("ttl", ttl.to_string()),
        }
        match self.tos {
            TypeOfService::Inherit => option("tos", "inherit".to_owned()),
            TypeOfService::Fixed(tos) => option("tos", tos.to_string()),
        }
        match self.df {
            DontFragment::Unset => {}
            DontFragment::Set => option("df", "set".to_owned()),
            DontFragment::Inherit => option("df", "inherit".to_owned()),
        }
        option("udp-checksum", on_off(self.udp_checksum));
        match &self.source_ports {
            None => {}
            Some(SourcePorts::Pinned) => option("source-port", "4789".to_owned()),
            Some(SourcePorts::Hash(range)) => {
                option("source-port", format!("hash:{}-{}", range.start(), range.end()));
            }
        }
        line
    }
}

/// How long an entry stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Permanent,
    Static,
    Dynamic,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Permanent => "permanent",
            State::Static => "static",
            State::Dynamic => "dynamic",
        }
    }
}

/// The device under test, up until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Tunnel {
    host: Rc<Host>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Kernel(Link),
    Vxgate(Child),
}

impl Tunnel {
    /// Starts it in `host`; it forwards when this returns.
    pub(crate) fn start(device: Device, host: &Rc<Host>, options: &Options) -> Tunnel {
        let kind = match device {
            Device::Kernel => Kind::Kernel(options.kernel(host).create(host).unwrap()),
            Device::Vxgate => {
                let mut command = command(host);
                command.args(options.arguments()).env("VXGATE_LOG", "warn");
                Kind::Vxgate(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
            }
        };
        let mut tunnel = Tunnel { host: Rc::clone(host), kind };
        if let Kind::Vxgate(child) = &mut tunnel.kind {
            let mut ended = None;
            let up = eventually(PATIENCE, || {
                ended = child.try_wait().unwrap();
                ended.is_some() || ask(host, &["show", "-j"]).is_some()
            });
            assert!(up && ended.is_none(), "vxgate did not come up: {ended:?}; {options:?}");
        }
        tunnel
    }

    pub(crate) fn link(&self) -> Link {
        self.host.netlink(async |netlink| netlink.link_by_name(DEV).await).unwrap()
    }

    /// Frames that it dropped, by reason, since it was started. The kernel's device does not tell reasons.
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        match &self.kind {
            Kind::Kernel(_) => BTreeMap::new(),
            Kind::Vxgate(_) => {
                let shown = ask(&self.host, &["show", "-j"]).expect("a tunnel that is up");
                let shown = shown.get(0).unwrap_or(&shown);
                let drops = shown["drops"].as_object().expect("an object of drop reasons");
                let counts = drops.iter().map(|(reason, count)| (reason.clone(), count.as_u64().unwrap()));
                counts.filter(|(_, count)| *count > 0).collect()
            }
        }
    }

    /// Frames to each peer, by its outer address, as it counts them itself. The kernel's device does not count them apart.
    pub(crate) fn sent_to_peers(&self) -> Option<BTreeMap<String, u64>> {
        match &self.kind {
            Kind::Kernel(_) => None,
            Kind::Vxgate(_) => {
                let shown = ask(&self.host, &["show", "-j"]).expect("a tunnel that is up");
                let shown = shown.get(0).unwrap_or(&shown);
                let peers = shown["peers"].as_array().expect("a list of peers");
                let count = |peer: &serde_json::Value| {
                    (peer["ip"].as_str().unwrap().to_owned(), peer["tx_frames"].as_u64().unwrap())
                };
                Some(peers.iter().map(count).collect())
            }
        }
    }

    /// How many frames it dropped for this reason; the kernel's device does not tell.
    pub(crate) fn dropped(&self, reason: &str) -> Option<u64> {
        match &self.kind {
            Kind::Kernel(_) => None,
            Kind::Vxgate(_) => Some(self.drops().get(reason).copied().unwrap_or(0)),
        }
    }

    /// `bridge fdb show`, sorted: MAC address, remote, and the state unless it is dynamic.
    pub(crate) fn fdb(&self) -> Vec<String> {
        let mut lines: Vec<String> = match &self.kind {
            Kind::Kernel(link) => {
                let entries = self.host.netlink(async |netlink| netlink.fdb(link).await).unwrap();
                let line = |entry: FdbEntry| {
                    let state = match entry.state {
                        FdbState::Permanent => " permanent",
                        FdbState::Static => " static",
                        FdbState::Dynamic | FdbState::Stale => "",
                    };
                    format!("{} {}{state}", show(entry.mac), entry.dst.unwrap())
                };
                entries.into_iter().map(line).collect()
            }
            Kind::Vxgate(_) => {
                let shown = ask(&self.host, &["fdb", "show", "-j"]).expect("a tunnel that is up");
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let line = |entry: &serde_json::Value| {
                    let line = [text(&entry["mac"]), text(&entry["dst"]), text(&entry["state"])].join(" ");
                    line.trim_end().to_owned()
                };
                shown.as_array().unwrap().iter().map(line).collect()
            }
        };
        lines.retain(|line| !line.starts_with("02:ff:"));
        lines.sort();
        lines
    }

    /// `bridge fdb add`; answers whether it was done.
    pub(crate) fn fdb_add(&self, mac: Mac, dst: IpAddr, state: State) -> bool {
        self.fdb_set("add", mac, dst, state)
    }

    /// `bridge fdb add` of a static entry with a UDP port and a VNI of its own.
    pub(crate) fn fdb_add_at(&self, mac: Mac, dst: IpAddr, port: u16, vni: u32) -> bool {
        match &self.kind {
            Kind::Kernel(link) => {
                let entry = FdbEntry {
                    state: FdbState::Static,
                    port: Some(port),
                    vni: Some(vni),
                    ..FdbEntry::new(mac, dst)
                };
                self.host.netlink(async |netlink| netlink.fdb_add(link, &entry).await).is_ok()
            }
            Kind::Vxgate(_) => {
                let (mac, dst, port, vni) = (show(mac), dst.to_string(), port.to_string(), vni.to_string());
                self.tell(&["fdb", "add", &mac, "dst", &dst, "port", &port, "vni", &vni, "static"])
            }
        }
    }

    /// `bridge fdb append`.
    pub(crate) fn fdb_append(&self, mac: Mac, dst: IpAddr, state: State) -> bool {
        self.fdb_set("append", mac, dst, state)
    }

    /// `bridge fdb replace`.
    pub(crate) fn fdb_replace(&self, mac: Mac, dst: IpAddr, state: State) -> bool {
        self.fdb_set("replace", mac, dst, state)
    }

    fn fdb_set(&self, verb: &str, mac: Mac, dst: IpAddr, state: State) -> bool {
        match &self.kind {
            Kind::Kernel(link) => {
                let kernel_state = match state {
                    State::Permanent => FdbState::Permanent,
                    State::Static => FdbState::Static,
                    State::Dynamic => FdbState::Dynamic,
                };
                let entry = FdbEntry { state: kernel_state, ..FdbEntry::new(mac, dst) };
                let done = self.host.netlink(async |netlink| match verb {
                    "add" => netlink.fdb_add(link, &entry).await,
                    "append" => netlink.fdb_append(link, &entry).await,
                    _ => netlink.fdb_replace(link, &entry).await,
                });
                done.is_ok()
            }
            Kind::Vxgate(_) => self.tell(&["fdb", verb, &show(mac), "dst", &dst.to_string(), state.word()]),
        }
    }

    /// `bridge fdb del`; without `dst` the whole entry.
    pub(crate) fn fdb_del(&self, mac: Mac, dst: Option<IpAddr>) -> bool {
        match &self.kind {
            Kind::Kernel(link) => {
                let entry = FdbEntry { dst, ..FdbEntry::new(mac, [0, 0, 0, 0].into()) };
                self.host.netlink(async |netlink| netlink.fdb_delete(link, &entry).await).is_ok()
            }
            Kind::Vxgate(_) => match dst {
                Some(dst) => self.tell(&["fdb", "del", &show(mac), "dst", &dst.to_string()]),
                None => self.tell(&["fdb", "del", &show(mac)]),
            },
        }
    }

    /// `bridge fdb flush`, of every entry.
    pub(crate) fn fdb_flush(&self) -> bool {
        match &self.kind {
            Kind::Kernel(link) => self.host.netlink(async |netlink| netlink.fdb_flush(link).await).is_ok(),
            Kind::Vxgate(_) => self.tell(&["fdb", "flush"]),
        }
    }

    /// Runs a vxgate command that answers nothing but its exit status.
    fn tell(&self, words: &[&str]) -> bool {
        let status = command(&self.host).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.unwrap().success()
    }

    /// Ends it in the disorderly way: SIGKILL, or the device deleted.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends it in the orderly way and waits until its device is gone.
    pub(crate) fn stop(mut self) {
        if let Kind::Vxgate(child) = &mut self.kind {
            let down = command(&self.host).arg("down").status().unwrap();
            assert!(down.success());
            assert!(child.wait().unwrap().success(), "an orderly end");
            let links = self.host.netlink(async |netlink| netlink.links().await).unwrap();
            assert!(links.iter().all(|link| link.name != DEV), "nothing is left: {links:?}");
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Kernel(link) => {
                // A host that is going away takes it along.
                let _ = self.host.netlink(async |netlink| netlink.link_delete(link).await);
            }
            Kind::Vxgate(child) => {
                // One that has ended by itself needs neither.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// vxgate in `host`, with a runtime directory of its own and no settings from outside.
fn command(host: &Host) -> Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_vxgate"));
    command.env_clear().env("VXGATE_RUNTIME_DIR", format!("/run/{}", host.name()));
    command
}

/// The JSON that a vxgate command prints; none when it fails.
fn ask(host: &Host, words: &[&str]) -> Option<serde_json::Value> {
    let output = command(host).args(words).stderr(Stdio::null()).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}
