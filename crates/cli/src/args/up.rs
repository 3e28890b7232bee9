//! The options of `vxgate up`.

pub(crate) mod gate;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use vxgate_codec::{ReservedBits, Vni};

use self::gate::GateOptions;
use crate::config::user::User;
use crate::config::values::{
    self, BusyPoll, CpuList, DeviceName, Df, Forward, LogFormat, MetricsAddr, MssClamp, Mtu, PeerShare,
    PeerSpec, SourcePort, StormLimit, TapLife, Threads, Tos, Ttl,
};
use crate::sandbox::Sandbox;

/// One layer of options: what the command line, the environment, a file or the init script's arguments say.
///
/// `None` and an empty list mean that this layer says nothing; [`UpOptions::over`] lays one on another.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Tunnel")]
pub(crate) struct UpOptions {
    /// File to take options from that neither the command line nor the environment sets
    ///
    /// TOML, each key an option's name without its dashes: peer = ["100.64.158.4", "100.64.158.132"]. Secrets do not belong in it.
    /// `vxgate migrate` writes one from an init_vxlan.sh line.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Name of the device to make [default: vxlan0]
    ///
    /// 1 to 15 octets without '/', ':', '%' and white space.
    #[arg(long, value_name = "DEV")]
    pub(crate) dev: Option<DeviceName>,

    /// VXLAN network identifier, 0 to 16777215 [default: 10]
    ///
    /// 10 is a Gate's.
    #[arg(long, value_name = "VNI")]
    pub(crate) vni: Option<Vni>,

    /// This host's outer address
    ///
    /// By default the address that the route to the first peer would use.
    #[arg(long, value_name = "IP", value_parser = values::ip)]
    pub(crate) local: Option<IpAddr>,

    /// Interface that carries the tunnel
    ///
    /// By default the one that routing chooses. A multicast peer and a link-local one need it.
    #[arg(long, value_name = "IFNAME")]
    pub(crate) underlay: Option<DeviceName>,

    /// Outer address of a peer, and its inner one; may be given many times
    ///
    /// The inner address, as in 100.64.158.4=10.192.158.4, is what health probes ask the peer for (`soracom vpg
    /// list-gate-peers` has both).
    ///
    /// Up to 1024 of them: frames for all and for unknown addresses go to each. A multicast address is a group to join: it needs
    /// --underlay, and --accept-from, since its members are not known. Peers can also be added later: `vxgate peer
    /// add`.
    #[arg(long, value_name = "IP[=INNER]", value_delimiter = ',')]
    pub(crate) peer: Vec<PeerSpec>,

    /// UDP port to receive on and to send to, 1 to 65535 [default: 4789]
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub(crate) port: Option<u16>,

    /// UDP port to send from: N, hash or hash:LOW-HIGH [default: that of --port]
    ///
    /// A Gate's own script pins it to 4789. `hash` picks it by the inner flow from 49152-65535, so that the
    /// underlay spreads flows over its paths (RFC 7348 section 5).
    #[arg(long, value_name = "N|hash|hash:LOW-HIGH")]
    pub(crate) source_port: Option<SourcePort>,

    /// Address of the device, with prefix; may be given many times
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = values::address,
          help_heading = "Device")]
    pub(crate) address: Vec<IpNet>,

    /// MTU of the device: auto or 68 to 65485 octets [default: auto]
    ///
    /// auto is the underlay's MTU less 50 octets of headers (70 over IPv6), and at most 1450 where the peers are a
    /// Gate's. It follows the underlay's links and routes while the tunnel runs, and what the path to the narrowest peer carries: that
    /// is told by ICMP, and asked of each peer whose inner IPv4 address is known, by padded ARP questions with DF set (not with
    /// --health off).
    #[arg(long, value_name = "auto|N", help_heading = "Device")]
    pub(crate) mtu: Option<Mtu>,

    /// Network to route into the tunnel; may be given many times
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = values::network,
          help_heading = "Device")]
    pub(crate) route: Vec<IpNet>,

    /// Learn which peer each MAC address is behind: on or off [default: on]
    #[arg(long, value_name = "on|off", value_parser = values::on_off, help_heading = "Forwarding")]
    pub(crate) learning: Option<bool>,

    /// Forget a learned MAC address after this long without a frame from it [default: 300]
    ///
    /// 1 to 1000000 seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", value_parser = values::ageing, help_heading = "Forwarding")]
    pub(crate) ageing: Option<Duration>,

    /// Most MAC addresses to know at once, 1 to 16777216 [default: 16384]
    #[arg(long, value_name = "N", value_parser = values::max_macs, help_heading = "Forwarding")]
    pub(crate) max_macs: Option<u32>,

    /// Network to take frames from besides the peers; may be given many times
    ///
    /// By default frames are taken from the peers' own addresses only. 0.0.0.0/0 or ::/0 takes them from anyone:
    /// VXLAN has no authentication.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = values::network,
          help_heading = "Forwarding")]
    pub(crate) accept_from: Vec<IpNet>,

    /// Frames with reserved bits set: rfc ignores the bits, kernel drops the frame [default: rfc]
    #[arg(long, value_name = "rfc|kernel", help_heading = "Forwarding")]
    pub(crate) reserved_bits: Option<ReservedBits>,

    /// TTL of outer datagrams: auto, 1 to 255, or inherit from the inner packet [default: auto]
    ///
    /// auto is the host's default, and 1 to a multicast peer.
    #[arg(long, value_name = "auto|inherit|N", help_heading = "Outer header")]
    pub(crate) ttl: Option<Ttl>,

    /// TOS of outer datagrams: a multiple of 4 from 0 to 252, or inherit [default: 0]
    ///
    /// The two lowest bits are ECN and follow RFC 6040 whatever is said here.
    #[arg(long, value_name = "N|inherit", help_heading = "Outer header")]
    pub(crate) tos: Option<Tos>,

    /// Don't-fragment bit of outer IPv4 datagrams: set, unset or inherit [default: unset]
    #[arg(long, value_name = "set|unset|inherit", help_heading = "Outer header")]
    pub(crate) df: Option<Df>,

    /// UDP checksum of outer datagrams: on or off [default: on]
    #[arg(long, value_name = "on|off", value_parser = values::on_off, help_heading = "Outer header")]
    pub(crate) udp_checksum: Option<bool>,

    /// Superframes and runs of datagrams in one system call, where the kernel can: auto or off [default: auto]
    ///
    /// auto asks the device for checksum and segmentation offload, sends with UDP_SEGMENT, receives with UDP_GRO and joins
    /// the frames of a flow; `vxgate show` tells what is in force. off moves one frame at a time.
    #[arg(long, value_name = "auto|off", value_parser = values::auto_off, help_heading = "Performance")]
    pub(crate) offload: Option<bool>,

    /// Workers that carry frames, 1 to 16 [default: 1]
    ///
    /// Each flow stays with one of them, so that its frames stay in order. More than one helps where there are processors to spare,
    /// several flows at once, and peers that send from a port by flow (--source-port hash at their end): datagrams that all come from
    /// one port all go to one worker.
    #[arg(long, value_name = "N", value_parser = values::workers, help_heading = "Threads")]
    pub(crate) workers: Option<u16>,

    /// Threads of each worker: auto, 1 or 2 [default: 2]
    ///
    /// 2 gives each direction its own, 1 carries both in one thread. auto is one, which a second joins while both
    /// directions are busy: it serves better where processors are short, and answers a lone request sooner.
    #[arg(long, value_name = "auto|1|2", help_heading = "Threads")]
    pub(crate) threads: Option<Threads>,

    /// How long a thread polls for more before it sleeps: auto or 0 to 1000000 microseconds [default: auto]
    ///
    /// 0 sleeps at once. auto polls for up to 100 us while frames come in quicker succession than that, and not at all where others want
    /// the processor. A longer time serves the first frame after a pause sooner, and keeps a processor busy for as long.
    #[arg(long, value_name = "auto|USEC", help_heading = "Threads")]
    pub(crate) busy_poll: Option<BusyPoll>,

    /// Processors to pin the threads to, as in 0,1 or 0-3
    ///
    /// By default they run where the system puts them. One each and in turn: the first thread of each worker, then its second, which
    /// carries what goes out; after the last processor comes the first again.
    #[arg(long, value_name = "CPU-LIST", help_heading = "Threads")]
    pub(crate) affinity: Option<CpuList>,

    /// Whose packets to forward into the tunnel: a network of the VPC, on for whatever arrives, or off [default: off]
    ///
    /// May be given many times. Packets that come from there and are routed into the tunnel leave it with an address of the device as
    /// their source, so that devices answer through it. Nothing else enters the tunnel from other hosts, and by default nothing
    /// comes out of it for them but answers. on takes what arrives by the underlay's interface. Settings are made for the interfaces
    /// concerned only, and undone at the end. The VPC must route the devices' network to this host, and the host's source and
    /// destination check must be off.
    #[arg(long, value_name = "CIDR|on|off", value_delimiter = ',', help_heading = "Other machines")]
    pub(crate) forward: Vec<Forward>,

    /// What --forward lets out of the tunnel to other machines: answers, or all for connections that devices begin [default: answers]
    #[arg(long, value_name = "answers|all", value_parser = values::forward_back, help_heading = "Other machines")]
    pub(crate) forward_back: Option<bool>,

    /// Lower the maximum segment size of TCP connections: auto, off or 88 to 65495 octets [default: auto]
    ///
    /// In both directions, in SYN and SYN-ACK, never raised. auto is the device's MTU, or what the path carries if that is less, less 40
    /// octets of headers (60 over IPv6) and 4 for each VLAN tag: so that hosts behind a bridge or a router need not find out by
    /// themselves what the tunnel carries.
    #[arg(long, value_name = "auto|off|N", help_heading = "Path")]
    pub(crate) mss_clamp: Option<MssClamp>,

    /// Probe the peers, and do without one that is down: auto or off [default: auto]
    ///
    /// A peer whose inner address is known (--peer IP=INNER) is asked for it by ARP, or by neighbour solicitation, through that peer
    /// alone. One that has answered before and goes silent is down: nothing is flooded to it, the MAC addresses behind it are
    /// forgotten and asked for again through the others. If none answers, all are sent to. A peer without an inner address counts
    /// as down only when the network says again and again that it cannot be reached.
    #[arg(long, value_name = "auto|off", value_parser = values::auto_off, help_heading = "Health")]
    pub(crate) health: Option<bool>,

    /// Milliseconds from an answered probe to the next one, 10 to 60000 [default: 120]
    #[arg(long, value_name = "MS", value_parser = values::probe_interval, help_heading = "Health")]
    pub(crate) probe_interval: Option<Duration>,

    /// Milliseconds that an answer is waited for at least, 5 to 60000 [default: 40]
    ///
    /// Then the next probe is sent. A path whose round trip takes longer is waited for longer.
    #[arg(long, value_name = "MS", value_parser = values::probe_retry, help_heading = "Health")]
    pub(crate) probe_retry: Option<Duration>,

    /// Probes in a row without an answer that make a peer count as down, 2 to 100 [default: 7]
    #[arg(long, value_name = "N", value_parser = values::probe_misses, help_heading = "Health")]
    pub(crate) probe_misses: Option<u32>,

    /// Milliseconds that a peer that is back must answer for before it counts as up, 0 to 60000 [default: 500]
    ///
    /// Doubled for each time that it went down within the last minute, up to a minute.
    #[arg(long, value_name = "MS", value_parser = values::hold_down, help_heading = "Health")]
    pub(crate) hold_down: Option<Duration>,

    /// Program to run when a peer goes down or comes back
    ///
    /// It is run without a shell and without arguments, one event at a time, for at most 10 seconds. Its environment says what happened:
    /// VXGATE_EVENT (peer-down, peer-up, all-peers-silent), VXGATE_DEV, VXGATE_VNI, VXGATE_PEER, VXGATE_WHY (peer-down) and
    /// VXGATE_DOWN_MS (peer-up).
    #[arg(long, value_name = "PROGRAM", value_parser = values::program, help_heading = "Health")]
    pub(crate) on_event: Option<PathBuf>,

    /// Which device, and what becomes of it: new, keep or existing [default: new]
    ///
    /// new makes one that is gone with the tunnel. keep makes one that stays with its addresses and routes when the tunnel is told to
    /// end by a signal, or is killed: the next start takes it over and changes only what is configured otherwise, so that connections
    /// outlast a restart. `vxgate down` removes it. existing attaches to a TAP device that is there and leaves it there, as one of `ip
    /// tuntap add dev DEV mode tap user NAME`, which that user needs no privilege for.
    #[arg(long, value_name = "new|keep|existing", help_heading = "Device")]
    pub(crate) tap: Option<TapLife>,

    /// Number of an open descriptor of the device, which whoever started this program left to it
    ///
    /// 3 or above: a TAP device without packet information that is called as --dev says, with a virtio header or not. No device is
    /// made. Without privilege, MAC address, MTU, addresses and routes are what the device has; --address and --route that it has not
    /// are refused then. One worker.
    #[arg(long, value_name = "N", value_parser = values::tap_fd, help_heading = "Device")]
    pub(crate) tap_fd: Option<i32>,

    /// How the log is written: text, or json for one object on each line [default: text]
    ///
    /// To the journal, text has its priority in front (sd-daemon(3)) and no time, which the journal has. Of one kind of line 20 come at
    /// once and then one a second; the next one tells how many were left out.
    #[arg(long, value_name = "text|json", help_heading = "Log")]
    pub(crate) log_format: Option<LogFormat>,
    /// Address to serve metrics and health at: IP:PORT, :PORT for every address, or off [default: off]
    ///
    /// /metrics is for Prometheus; /healthz says 200 while each tunnel has a peer that is up, else 503 and why. Anybody who reaches the
    /// address may read both: 127.0.0.1:9789 is for this host alone.
    #[arg(long, value_name = "ADDR|off", value_parser = values::metrics, help_heading = "Operation")]
    pub(crate) metrics: Option<MetricsAddr>,

    /// Most broadcast, unknown unicast and multicast frames a second, to each peer and from each: auto, off or 1 to 10000000 [default: auto]
    ///
    /// auto is 20000, and no limit with --learning off, where everything is flooded. A tenth of a second of it may come at once. Frames for
    /// known addresses, and the tunnel's own, never count. From a peer, broadcast and multicast count. What is dropped is counted as
    /// storm-limit.
    #[arg(long, value_name = "auto|off|N", help_heading = "Forwarding")]
    pub(crate) storm_limit: Option<StormLimit>,

    /// Most MAC addresses to learn behind one peer: auto or 1 to 16777216 [default: auto]
    ///
    /// auto leaves a sixteenth of --max-macs to each other peer, and half of it to all of them at most: so that one peer cannot fill the
    /// table, and either peer of a Gate can take over what was behind the other.
    #[arg(long, value_name = "auto|N", help_heading = "Forwarding")]
    pub(crate) max_macs_per_peer: Option<PeerShare>,

    /// Keep a MAC address that moves more than 5 times in 180 seconds where it is for 180 seconds: on or off [default: on]
    ///
    /// The rule is EVPN's (RFC 7432 section 15.1). A peer that goes down, and `vxgate fdb replace`, still move it.
    #[arg(long, value_name = "on|off", value_parser = values::on_off, help_heading = "Forwarding")]
    pub(crate) flap_damping: Option<bool>,

    /// Confine the process that carries frames: on, off or log [default: on]
    ///
    /// It has no capability and writes no file; its threads that handle frames may make 24 system calls, its control thread those of a longer
    /// list; any other ends the process, or fails. log lets it pass, and the kernel's audit tells of it (journalctl -k, type=1326). What needs
    /// privilege is done by a process of its own. docs/sandbox.md has all of it.
    #[arg(long, value_name = "on|off|log", value_parser = values::sandbox, help_heading = "Operation")]
    pub(crate) sandbox: Option<Sandbox>,

    /// Whom the process that carries frames runs as once the tunnels are up: a user's name, UID, or UID:GID
    ///
    /// What still needs privilege is done by a process of its own, the monitor, which does for the tunnel's device what the
    /// configuration says, and nothing else. Needs root at the start. A reload needs a file that this user may read.
    #[arg(long, value_name = "NAME|UID|UID:GID", help_heading = "Operation")]
    pub(crate) user: Option<User>,

    /// From the Gate.
    #[command(flatten)]
    pub(crate) gate: GateOptions,
}

impl UpOptions {
    /// Whether this layer says anything of this option. Names every field, so that a new one is not forgotten.
    pub(crate) fn sets(&self, option: &str) -> bool {
        let UpOptions {
            config,
            dev,
            vni,
            local,
            underlay,
            peer,
            port,
            source_port,
            address,
            mtu,
            route,
            learning,
            ageing,
            max_macs,
            accept_from,
            reserved_bits,
            ttl,
            tos,
            df,
            udp_checksum,
            offload,
            workers,
            threads,
            busy_poll,
            affinity,
            forward,
            forward_back,
            mss_clamp,
            health,
            probe_interval,
            probe_retry,
            probe_misses,
            hold_down,
            on_event,
            tap,
            tap_fd,
            log_format,
            metrics,
            storm_limit,
            max_macs_per_peer,
            flap_damping,
            sandbox,
            user,
            gate,
        } = self;
        let GateOptions {
            gate_peers,
            vpg_id,
            open_gate,
            api_interval,
            api_wait,
            coverage,
            endpoint,
            profile,
            dry_run,
        } = gate;
        let said = [
            ("config", config.is_some()),
            ("dev", dev.is_some()),
            ("vni", vni.is_some()),
            ("local", local.is_some()),
            ("underlay", underlay.is_some()),
            ("peer", !peer.is_empty()),
            ("port", port.is_some()),
            ("source-port", source_port.is_some()),
            ("address", !address.is_empty()),
            ("mtu", mtu.is_some()),
            ("route", !route.is_empty()),
            ("learning", learning.is_some()),
            ("ageing", ageing.is_some()),
            ("max-macs", max_macs.is_some()),
            ("accept-from", !accept_from.is_empty()),
            ("reserved-bits", reserved_bits.is_some()),
            ("ttl", ttl.is_some()),
            ("tos", tos.is_some()),
            ("df", df.is_some()),
            ("udp-checksum", udp_checksum.is_some()),
            ("offload", offload.is_some()),
            ("workers", workers.is_some()),
            ("threads", threads.is_some()),
            ("busy-poll", busy_poll.is_some()),
            ("affinity", affinity.is_some()),
            ("forward", !forward.is_empty()),
            ("forward-back", forward_back.is_some()),
            ("mss-clamp", mss_clamp.is_some()),
            ("health", health.is_some()),
            ("probe-interval", probe_interval.is_some()),
            ("probe-retry", probe_retry.is_some()),
            ("probe-misses", probe_misses.is_some()),
            ("hold-down", hold_down.is_some()),
            ("on-event", on_event.is_some()),
            ("tap", tap.is_some()),
            ("tap-fd", tap_fd.is_some()),
            ("log-format", log_format.is_some()),
            ("metrics", metrics.is_some()),
            ("storm-limit", storm_limit.is_some()),
            ("max-macs-per-peer", max_macs_per_peer.is_some()),
            ("flap-damping", flap_damping.is_some()),
            ("sandbox", sandbox.is_some()),
            ("user", user.is_some()),
            ("gate-peers", gate_peers.is_some()),
            ("vpg-id", vpg_id.is_some()),
            ("open-gate", open_gate.is_some()),
            ("api-interval", api_interval.is_some()),
            ("api-wait", api_wait.is_some()),
            ("coverage", coverage.is_some()),
            ("endpoint", endpoint.is_some()),
            ("profile", profile.is_some()),
            ("dry-run", dry_run.is_some()),
        ];
        said.iter().any(|(name, is_said)| *name == option && *is_said)
    }

    /// These options, and others of the same layer: two sources of one tunnel stay two, so that the mistake is told.
    pub(crate) fn beside(self, other: UpOptions) -> UpOptions {
        let gate_peers = self.gate.gate_peers.clone().or_else(|| other.gate.gate_peers.clone());
        let vpg_id = self.gate.vpg_id.clone().or_else(|| other.gate.vpg_id.clone());
        let options = self.over(other);
        UpOptions { gate: GateOptions { gate_peers, vpg_id, ..options.gate }, ..options }
    }

    /// These options, and those of the lower layer where these say nothing. A list replaces the lower one whole.
    pub(crate) fn over(self, lower: UpOptions) -> UpOptions {
        fn list<T>(upper: Vec<T>, lower: Vec<T>) -> Vec<T> {
            if upper.is_empty() { lower } else { upper }
        }
        UpOptions {
            config: self.config.or(lower.config),
            dev: self.dev.or(lower.dev),
            vni: self.vni.or(lower.vni),
            local: self.local.or(lower.local),
            underlay: self.underlay.or(lower.underlay),
            peer: list(self.peer, lower.peer),
            port: self.port.or(lower.port),
            source_port: self.source_port.or(lower.source_port),
            address: list(self.address, lower.address),
            mtu: self.mtu.or(lower.mtu),
            route: list(self.route, lower.route),
            learning: self.learning.or(lower.learning),
            ageing: self.ageing.or(lower.ageing),
            max_macs: self.max_macs.or(lower.max_macs),
            accept_from: list(self.accept_from, lower.accept_from),
            reserved_bits: self.reserved_bits.or(lower.reserved_bits),
            ttl: self.ttl.or(lower.ttl),
            tos: self.tos.or(lower.tos),
            df: self.df.or(lower.df),
            udp_checksum: self.udp_checksum.or(lower.udp_checksum),
            offload: self.offload.or(lower.offload),
            workers: self.workers.or(lower.workers),
            threads: self.threads.or(lower.threads),
            busy_poll: self.busy_poll.or(lower.busy_poll),
            affinity: self.affinity.or(lower.affinity),
            forward: list(self.forward, lower.forward),
            forward_back: self.forward_back.or(lower.forward_back),
            mss_clamp: self.mss_clamp.or(lower.mss_clamp),
            health: self.health.or(lower.health),
            probe_interval: self.probe_interval.or(lower.probe_interval),
            probe_retry: self.probe_retry.or(lower.probe_retry),
            probe_misses: self.probe_misses.or(lower.probe_misses),
            hold_down: self.hold_down.or(lower.hold_down),
            on_event: self.on_event.or(lower.on_event),
            tap: self.tap.or(lower.tap),
            tap_fd: self.tap_fd.or(lower.tap_fd),
            log_format: self.log_format.or(lower.log_format),
            metrics: self.metrics.or(lower.metrics),
            storm_limit: self.storm_limit.or(lower.storm_limit),
            max_macs_per_peer: self.max_macs_per_peer.or(lower.max_macs_per_peer),
            flap_damping: self.flap_damping.or(lower.flap_damping),
            sandbox: self.sandbox.or(lower.sandbox),
            user: self.user.or(lower.user),
            gate: self.gate.over(lower.gate),
        }
    }
}
