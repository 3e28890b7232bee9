//! `vxgate explain REASON`: why frames are dropped, what usually causes it, and what to do.

use std::io::Write;

use serde::Serialize;
use vxgate_core::DropReason;

use crate::failure::Failure;
use crate::print::{self, Format, JsonList, Style};

/// All that there is to say of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    /// The name that `show`, metrics and captures have.
    reason: &'static str,
    /// Which way such frames go: from the host out, from the peers in, or both.
    way: &'static str,
    /// What happened.
    what: &'static str,
    /// What usually causes it.
    cause: &'static str,
    /// What to do, with the command.
    next_step: &'static str,
    /// Where the rule comes from.
    source: &'static str,
}

const OUT: &str = "out";
const IN: &str = "in";
const BOTH: &str = "both";

/// Columns that names of reasons take in the list.
const WIDEST: usize = 17;

/// Explains a reason.
pub(crate) const fn explanation(reason: DropReason) -> Explanation {
    let (way, cause, next_step, source) = match reason {
        DropReason::Stranger => (
            IN,
            "scanners, a peer that is not configured, or a peer behind NAT that sends from another address",
            "if it is a VTEP of yours: vxgate peer add IP, or --accept-from CIDR; `vxgate capture --drops` shows who it is",
            "RFC 7348 section 7: datagrams of unknown VTEPs are an attack",
        ),
        DropReason::CutShort => (
            IN,
            "the underlay delivered a datagram of more than 64 KiB in all, which no VTEP sends",
            "find the sender: vxgate capture --drops",
            "recvmsg(2), MSG_TRUNC",
        ),
        DropReason::Truncated => (
            IN,
            "something that is not VXLAN sends to the port",
            "find the sender: vxgate capture --drops",
            "RFC 7348 section 5",
        ),
        DropReason::FlagIClear => (
            IN,
            "something that is not VXLAN sends to the port, or a peer with the Generic Protocol Extension",
            "find the sender: vxgate capture --drops; switch GPE off at the peer",
            "RFC 7348 section 5: the I flag MUST be set",
        ),
        DropReason::ReservedBits => (
            IN,
            "a peer with extensions (GBP, GPE, remote checksum) that this end refuses by --reserved-bits kernel",
            "leave --reserved-bits at rfc, or switch the extension off at the peer",
            "RFC 7348 section 5; the kernel's device refuses them (drivers/net/vxlan)",
        ),
        DropReason::Runt => (
            BOTH,
            "a program that writes half a frame, or a sender of garbage",
            "find the sender: vxgate capture --drops",
            "IEEE 802.3: 14 octets of header",
        ),
        DropReason::TruncatedTag => (
            IN,
            "a sender of garbage, or a program that cuts frames short",
            "find the sender: vxgate capture --drops",
            "IEEE 802.1Q",
        ),
        DropReason::WrongVni => (
            IN,
            "a peer has another VNI configured, or serves several segments",
            "compare: vxgate show, and `ip -d link show type vxlan` at the peer; `vxgate doctor` names the VNI that arrives",
            "RFC 7348 section 4.1",
        ),
        DropReason::OwnMac => (
            IN,
            "frames of this host come back: a loop behind a peer, or a second host with the same MAC address",
            "look for a bridge that joins two ends of the segment; give one of the hosts another address",
            "IEEE 802.1D: no station hears itself",
        ),
        DropReason::InvalidSource => (
            IN,
            "a broken or hostile sender: no station has a group or the zero address",
            "find the sender: vxgate capture --drops",
            "IEEE 802.3 section 3.2.5",
        ),
        DropReason::StaticElsewhere => (
            IN,
            "a station moved, and its entry was made by hand; or somebody pretends to be it",
            "vxgate fdb show; vxgate fdb replace MAC dst IP, if it moved",
            "drivers/net/vxlan: a static entry does not move",
        ),
        DropReason::Ecn => (
            IN,
            "a router marked congestion, and the inner packet's sender cannot be told but by loss",
            "nothing: this is how congestion is told; many of them are a path that is full",
            "RFC 6040 section 4.2",
        ),
        DropReason::NoRemote => (
            OUT,
            "there is no peer, or all of them were taken away",
            "vxgate peer list; vxgate peer add IP",
            "RFC 7348 section 4.2: unknown destinations are flooded, here to nobody",
        ),
        DropReason::TooBig => (
            OUT,
            "the device's MTU was set by hand, or the path became narrower a moment ago",
            "leave --mtu at auto; `vxgate doctor` measures the path",
            "RFC 7348 section 4.3: VTEPs do not fragment; the sender is told (RFC 1191, RFC 8201)",
        ),
        DropReason::BadSuperframe => (
            OUT,
            "a defect of the kernel or of a program that writes to the device",
            "--offload off goes around it; tell us",
            "linux/virtio_net.h",
        ),
        DropReason::StormLimit => (
            BOTH,
            "a broadcast storm, a loop, or many frames to addresses that never answer",
            "`vxgate top` shows what goes on, `vxgate capture --drops` who it is; --storm-limit N allows more",
            "ours: --storm-limit",
        ),
        DropReason::TunnelInTunnel => (
            BOTH,
            "a route sends a peer's outer address into the tunnel, or the same segment is bridged behind a peer",
            "ip route get PEER: it must not lead to the tunnel's device; give the peer a route of its own",
            "ours: the tunnel would go through itself, each time with more headers",
        ),
        DropReason::PortFull => (
            IN,
            "the host takes frames more slowly than they come",
            "look at the host's load; --workers and --affinity give the tunnel more processors",
            "EAGAIN of write(2) to the device",
        ),
        DropReason::PortRefused => (
            IN,
            "the device is down, or its MTU is less than the frame",
            "ip link set DEV up; ip link show DEV",
            "EIO and EINVAL of write(2) to the device (drivers/net/tun.c)",
        ),
        DropReason::UnderlayFull => (
            OUT,
            "frames are sent faster than the underlay carries them",
            "larger buffers (sysctl net.core.wmem_max, then a restart), or a slower sender",
            "EAGAIN and ENOBUFS of sendmsg(2)",
        ),
        DropReason::Unreachable => (
            OUT,
            "the route to the peer is gone, or the link is down",
            "ip route get PEER; `vxgate doctor` says which",
            "ENETUNREACH, EHOSTUNREACH and EADDRNOTAVAIL of sendmsg(2)",
        ),
        DropReason::UnderlayRefused => (
            OUT,
            "a firewall of this host, or a policy of the kernel",
            "nft list ruleset; `vxgate doctor` looks at it",
            "EPERM and others of sendmsg(2)",
        ),
    };
    Explanation { reason: reason.name(), way, what: reason.explain(), cause, next_step, source }
}

/// Explains the reason of this name, or lists all of them.
pub(crate) fn run(reason: Option<&str>, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let wanted = match reason {
        None => None,
        Some(name) => Some(find(name).ok_or_else(|| unknown(name))?),
    };
    let shown = wanted.as_ref().map_or(DropReason::ALL, std::slice::from_ref);
    let mut shown = shown.iter().map(|reason| explanation(*reason));
    let written = match format {
        Format::Text(style) if wanted.is_some() => shown.try_for_each(|one| whole(out, style, &one)),
        Format::Text(style) => shown.try_for_each(|one| {
            // What colours a name has no width.
            let gap = WIDEST.saturating_sub(one.reason.len());
            writeln!(out, "{}{:gap$} {:<4} {}", style.name(one.reason), "", one.way, one.what)
        }),
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            shown.try_for_each(|one| list.element(out, &one)).and_then(|()| list.end(out))
        }
    };
    written.map_err(|error| Failure::output(&error))
}

/// By name, however it is written.
fn find(name: &str) -> Option<DropReason> {
    let name = name.trim().to_lowercase().replace(['_', ' '], "-");
    DropReason::ALL.iter().copied().find(|reason| reason.name() == name)
}

fn unknown(name: &str) -> Failure {
    let near = print::nearest(name, DropReason::ALL.iter().map(|reason| reason.name()));
    let why = match near {
        Some(near) => format!("no frame is dropped for that; a similar reason is {near}"),
        None => "no frame is dropped for that".to_owned(),
    };
    Failure::usage(format!("explain: {name:?}"), why)
        .with_hint("`vxgate explain` lists every reason".to_owned())
}

fn whole(out: &mut dyn Write, style: Style, one: &Explanation) -> std::io::Result<()> {
    let way = match one.way {
        OUT => "frames of the host, on the way out",
        IN => "frames of the peers, on the way in",
        _ => "frames in both directions",
    };
    writeln!(out, "{}: {}", style.name(one.reason), one.what)?;
    for (label, text) in [("where", way), ("cause", one.cause), ("do", one.next_step), ("rule", one.source)] {
        writeln!(out, "  {:<7}{text}", format!("{label}:"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_cause_and_a_step_of_its_own() {
        let all: Vec<_> = DropReason::ALL.iter().map(|reason| explanation(*reason)).collect();
        for one in &all {
            assert!([OUT, IN, BOTH].contains(&one.way), "{one:?}");
            assert!(one.cause.len() > 20 && one.next_step.len() > 10 && one.source.len() > 8, "{one:?}");
        }
        let causes: BTreeSet<_> = all.iter().map(|one| one.cause).collect();
        assert!(causes.len() + 2 >= all.len(), "causes that say nothing");
    }

    #[test]
    fn the_list_is_aligned() {
        let mut text = Vec::new();
        run(None, Format::Text(Style::PLAIN), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), DropReason::COUNT);
        for (line, reason) in text.lines().zip(DropReason::ALL) {
            let (name, rest) = line.split_at(WIDEST + 1);
            assert_eq!(name.trim_end(), reason.name());
            assert!(
                rest[..5].trim_end() == explanation(*reason).way && rest[5..].starts_with(reason.explain()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_name_is_found_however_it_is_written_and_a_typo_gets_a_near_one() {
        assert_eq!(find("Wrong_VNI"), Some(DropReason::WrongVni));
        let text = unknown("strangr").to_string();
        assert!(text.contains("a similar reason is stranger"), "{text}");
        let text = unknown("zzz").to_string();
        assert!(!text.contains("similar") && text.contains("vxgate explain"), "{text}");
    }
}
