//! What goes over the control socket after a request to capture was granted: copies of frames, each with a head of fixed length.
//!
//! ```text
//!   octets | nanoseconds | original | lost so far | kind | out | reason | family | TOS | port | address | the copy
//!      4         8            4           8           1     1      1        1       1     2       16
//! ```
//!
//! All numbers are little-endian. A head without a copy (kind 0) tells only how many were lost, each second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use vxgate_core::DropReason;
use vxgate_forwarder::{Captured, CapturedAt, SNAPLEN_MAX};

/// Octets of the head.
pub(crate) const HEAD: usize = 47;

const BEAT: u8 = 0;
const INNER: u8 = 1;
const OUTER: u8 = 2;
const DROPPED: u8 = 3;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Since the forwarder began.
    pub(crate) at: Duration,
    /// None for a sign of life.
    pub(crate) place: Option<CapturedAt>,
    pub(crate) is_out: bool,
    pub(crate) original_octets: usize,
    /// Copies lost so far.
    pub(crate) lost: u64,
    pub(crate) octets: Vec<u8>,
}

/// Writes a copy behind what is there.
pub(crate) fn write(captured: &Captured, lost: u64, out: &mut Vec<u8>) {
    put(
        captured.at,
        Some(captured.place),
        captured.is_out,
        captured.original_octets,
        lost,
        &captured.octets,
        out,
    );
}

/// Writes a sign of life.
pub(crate) fn write_beat(at: Duration, lost: u64, out: &mut Vec<u8>) {
    put(at, None, false, 0, lost, &[], out);
}

fn put(
    at: Duration,
    place: Option<CapturedAt>,
    is_out: bool,
    original_octets: usize,
    lost: u64,
    octets: &[u8],
    out: &mut Vec<u8>,
) {
    let (kind, reason, peer, tos) = match place {
        None => (BEAT, 0, None, 0),
        Some(CapturedAt::Inner) => (INNER, 0, None, 0),
        Some(CapturedAt::Outer { peer, tos }) => (OUTER, 0, Some(peer), tos),
        Some(CapturedAt::Dropped(reason, peer)) => {
            (DROPPED, reason.index() as u8, peer.map(|peer| SocketAddr::new(peer, 0)), 0)
        }
    };
    let (family, port, address) = match peer {
        None => (0, 0, [0; 16]),
        Some(peer) => {
            let mut address = [0; 16];
            let family = match peer.ip() {
                IpAddr::V4(ip) => {
                    address[..4].copy_from_slice(&ip.octets());
                    4
                }
                IpAddr::V6(ip) => {
                    address = ip.octets();
                    6
                }
            };
            (family, peer.port(), address)
        }
    };
    let length = |octets: usize| u32::try_from(octets).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(length(octets.len()));
    out.extend(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    out.extend(length(original_octets));
    out.extend(lost.to_le_bytes());
    out.extend([kind, u8::from(is_out), reason, family, tos]);
    out.extend(port.to_le_bytes());
    out.extend(address);
    out.extend_from_slice(octets);
}

/// Takes the first message off the front; none where it is not whole yet. An error is no message at all.
pub(crate) fn take(buffer: &mut Vec<u8>) -> Result<Option<Message>, &'static str> {
    let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let long = |at: usize| u64::from(word(at) as u32) | u64::from(word(at + 4) as u32) << 32;
    let length = word(0);
    if length > SNAPLEN_MAX {
        return Err("a copy that is too long");
    }
    let [kind, is_out, reason, family, tos] = [24, 25, 26, 27, 28].map(|at| head[at]);
    let port = u16::from_le_bytes([head[29], head[30]]);
    let address: [u8; 16] = std::array::from_fn(|at| head[31 + at]);
    let peer = match family {
        0 => None,
        4 => Some(IpAddr::V4(Ipv4Addr::new(address[0], address[1], address[2], address[3]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(address))),
        _ => return Err("an address of no family"),
    };
    let place = match (kind, peer) {
        (BEAT, _) => None,
        (INNER, _) => Some(CapturedAt::Inner),
        (OUTER, Some(peer)) => Some(CapturedAt::Outer { peer: SocketAddr::new(peer, port), tos }),
        (DROPPED, peer) => {
            let reason = DropReason::ALL.get(usize::from(reason)).ok_or("a reason that is not known")?;
            Some(CapturedAt::Dropped(*reason, peer))
        }
        _ => return Err("a copy of no kind"),
    };
    let message = Message {
        at: Duration::from_nanos(long(4)),
        place,
        is_out: is_out != 0,
        original_octets: word(12),
        lost: long(16),
        octets: match buffer.get(HEAD..HEAD + length) {
            Some(octets) => octets.to_vec(),
            None => return Ok(None),
        },
    };
    buffer.drain(..HEAD + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_taken_again_however_it_arrives(
            octets in prop::collection::vec(any::<u8>(), 0..100),
            reason in 0..DropReason::COUNT,
            lost in any::<u64>(),
            cut in 0..150_usize,
        ) {
            let peer: SocketAddr = "[2001:db8::7]:4789".parse().unwrap();
            for place in [
                CapturedAt::Inner,
                CapturedAt::Outer { peer, tos: 184 },
                CapturedAt::Dropped(DropReason::ALL[reason], None),
                CapturedAt::Dropped(DropReason::ALL[reason], Some([192, 0, 2, 1].into())),
            ] {
                let captured = Captured {
                    at: Duration::from_nanos(lost >> 1), place, is_out: lost % 2 == 0, original_octets: 1000, octets: octets.clone(),
                };
                let mut whole = Vec::new();
                write(&captured, lost, &mut whole);
                let mut part = whole[..cut.min(whole.len())].to_vec();
                if part.len() < whole.len() {
                    prop_assert_eq!(take(&mut part), Ok(None));
                }
                let taken = take(&mut whole).unwrap().unwrap();
                prop_assert_eq!((taken.place, taken.lost, &taken.octets), (Some(place), lost, &octets));
                prop_assert!(whole.is_empty());
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut octets = octets;
            while let Ok(Some(_)) = take(&mut octets) {}
        }
    }
}
