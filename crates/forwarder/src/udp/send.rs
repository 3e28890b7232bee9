//! The sending half: frames become datagrams in groups, groups become system calls.
//!
//! ```text
//!   push ─► cut, encapsulated (Groups::place) ─► flush ─► pieces ─► sendmmsg, each piece one UDP_SEGMENT send
//!                                                           ▲            │ the kernel or the device refuses
//!                                                           └── datagram by datagram
//! ```

use std::io::{self, ErrorKind};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vxgate_codec::{flow, vxlan};
use vxgate_core::DropReason;
use vxgate_offload::Work;
use vxgate_sys::udp::{self, Message, PAYLOAD_OCTETS_MAX, SendBatch, UdpSocket};

use super::groups::{Fields, Groups, Recipient};
use super::{UdpOffload, dont_fragment};
use crate::underlay::{Outer, Tally, Target, UnderlayTx};

/// Messages in one call of sendmmsg.
const BATCH: usize = 64;

/// How long a full send buffer is waited for. One that stays full so long is not waited for again in the same batch: what
/// finds no room is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

/// The sending half of a [`UdpUnderlay`](super::UdpUnderlay).
pub struct UdpTx {
    sockets: Vec<Arc<UdpSocket>>,
    ports: RangeInclusive<u16>,
    default_df: bool,
    /// The DF bit that each socket sets now.
    current_df: Vec<bool>,
    offload: Arc<UdpOffload>,
    groups: Groups,
    pieces: Vec<Piece>,
    batch: SendBatch,
}

/// What one message of a call carries: datagrams of one group for one recipient.
#[derive(Clone)]
struct Piece {
    group: usize,
    fields: Fields,
    to: Recipient,
    /// Where they stand in the group's memory.
    range: Range<usize>,
    /// Length of each but the last.
    datagram_octets: usize,
}

impl Piece {
    fn datagrams(&self) -> usize {
        self.range.len().div_ceil(self.datagram_octets)
    }

    fn frame_octets(&self) -> usize {
        self.range.len() - self.datagrams() * vxlan::HEADER_OCTETS
    }

    /// The same, a message for each datagram.
    fn cut(self) -> impl Iterator<Item = Piece> {
        let starts = self.range.clone().step_by(self.datagram_octets);
        starts.map(move |start| Piece {
            range: start..self.range.end.min(start + self.datagram_octets),
            ..self.clone()
        })
    }
}

impl UdpTx {
    pub(super) fn new(
        sockets: Vec<Arc<UdpSocket>>,
        ports: RangeInclusive<u16>,
        default_df: bool,
        offload: Arc<UdpOffload>,
    ) -> Self {
        Self {
            current_df: vec![default_df; sockets.len()],
            sockets,
            ports,
            default_df,
            groups: Groups::new(offload.segments_max()),
            offload,
            pieces: Vec::with_capacity(2 * BATCH),
            batch: SendBatch::new(BATCH),
        }
    }

    /// The socket whose source port this flow has.
    fn socket_of(&self, flow_hash: u32) -> usize {
        if self.sockets.len() == 1 {
            return 0;
        }
        let offset = usize::from(flow::source_port(flow_hash, self.ports.clone()) - *self.ports.start());
        let width = usize::from(self.ports.end() - self.ports.start()) + 1;
        offset * self.sockets.len() / width
    }

    /// Gives one datagram for `targets`, which share a VNI, its place, and has `write` write the frame behind the header.
    #[inline]
    fn enqueue(
        &mut self,
        frame_octets: usize,
        fields: &Fields,
        flow_hash: u32,
        targets: &[Target],
        tally: &mut dyn Tally,
        write: impl FnOnce(&mut [u8]),
    ) {
        let octets = vxlan::HEADER_OCTETS + frame_octets;
        let [first, ..] = targets else { return };
        if octets > PAYLOAD_OCTETS_MAX {
            return targets.iter().for_each(|target| tally.dropped(target.peer, DropReason::TooBig, 1));
        }
        let place = self.groups.place(octets, fields, flow_hash, targets).or_else(|| {
            self.send(tally);
            self.groups.place(octets, fields, flow_hash, targets)
        });
        let Some(place) = place else { return };
        if let Some((header, frame)) = self.groups.octets_mut(place).split_first_chunk_mut() {
            vxlan::encap(first.vni, header);
            write(frame);
        }
    }

    /// Sends all that waits: one call for each run of messages of one socket.
    fn send(&mut self, tally: &mut dyn Tally) {
        self.list_pieces();
        let mut at = 0;
        let mut patience = true;
        while let Some(first) = self.pieces.get(at) {
            let (socket, df) = (first.fields.socket, first.fields.dont_fragment);
            if df != self.current_df[socket] {
                self.switch_df(socket, df);
            }
            let run = self.pieces[at..]
                .iter()
                .take_while(|piece| piece.fields.socket == socket && piece.fields.dont_fragment == df);
            let groups = &self.groups;
            let outcome = udp::send_batch(
                &self.sockets[socket],
                &mut self.batch,
                run.map(|piece| Message {
                    tos: Some(piece.fields.tos),
                    ttl: piece.fields.ttl,
                    segment_octets: segment_octets(piece),
                    ..Message::new(piece.to.address, groups.octets(piece.group, piece.range.clone()))
                }),
            );
            for piece in &self.pieces[at..at + outcome.sent] {
                tally.sent(piece.to.peer, piece.datagrams() as u64, piece.frame_octets() as u64);
            }
            at += outcome.sent;
            let (Some(error), Some(piece)) = (outcome.error, self.pieces.get(at)) else { continue };
            if error.kind() == ErrorKind::WouldBlock {
                if patience && wait_writable(&self.sockets[socket], SEND_PATIENCE) {
                    continue;
                }
                patience = false;
            } else if piece.datagrams() > 1 && is_refused_segmentation(&error) {
                // What does not fit the path says nothing of other sends; the rest does.
                if Errno::from_io_error(&error) != Some(Errno::MSGSIZE) {
                    self.offload.refuse_segment(&error);
                }
                let piece = piece.clone();
                self.pieces.splice(at..=at, piece.cut());
                continue;
            }
            tally.dropped(piece.to.peer, drop_reason(&error), piece.datagrams() as u64);
            at += 1;
        }
        self.groups.clear();
    }

    /// Lists a message for each recipient of each group, or one for each datagram where the kernel does not cut.
    fn list_pieces(&mut self) {
        self.pieces.clear();
        let cuts = self.offload.segment();
        for (index, group, recipients) in self.groups.iter() {
            for to in recipients {
                let piece = Piece {
                    group: index,
                    fields: group.fields,
                    to: *to,
                    range: 0..group.octets,
                    datagram_octets: group.datagram_octets,
                };
                if cuts {
                    self.pieces.push(piece);
                } else {
                    self.pieces.extend(piece.cut());
                }
            }
        }
    }

    fn switch_df(&mut self, socket: usize, set: bool) {
        // IPv6 has no such bit; a refusal there changes nothing.
        let _ = self.sockets[socket].set_dont_fragment(dont_fragment(set));
        self.current_df[socket] = set;
    }
}

impl UnderlayTx for UdpTx {
    fn push(&mut self, frame: &[u8], work: Work, outer: &Outer, targets: &[Target], tally: &mut dyn Tally) {
        let fields = Fields {
            socket: self.socket_of(outer.flow_hash),
            tos: outer.tos,
            ttl: outer.ttl,
            dont_fragment: outer.dont_fragment.unwrap_or(self.default_df),
        };
        // Copies of one VNI are one datagram.
        for targets in targets.chunk_by(|one, next| one.vni == next.vni) {
            match work {
                Work::Done => self.enqueue(frame.len(), &fields, outer.flow_hash, targets, tally, |place| {
                    place.copy_from_slice(frame);
                }),
                Work::Checksum(at) => {
                    self.enqueue(frame.len(), &fields, outer.flow_hash, targets, tally, |place| {
                        place.copy_from_slice(frame);
                        at.finish(place);
                    });
                }
                Work::Split(split) => {
                    let Some(cutter) = split.cutter(frame) else {
                        let frames = split.count(frame.len()) as u64;
                        targets
                            .iter()
                            .for_each(|to| tally.dropped(to.peer, DropReason::BadSuperframe, frames));
                        continue;
                    };
                    for index in 0..cutter.count() {
                        let octets = cutter.segment_length(index);
                        self.enqueue(octets, &fields, outer.flow_hash, targets, tally, |place| {
                            // The place is as long as the segment.
                            let _ = cutter.segment(index, place);
                        });
                    }
                }
            }
        }
        if self.groups.is_full() {
            self.send(tally);
        }
    }

    fn flush(&mut self, tally: &mut dyn Tally) -> io::Result<()> {
        self.send(tally);
        Ok(())
    }
}

/// What the kernel is told to cut a message into.
fn segment_octets(piece: &Piece) -> Option<u16> {
    (piece.datagrams() > 1).then(|| u16::try_from(piece.datagram_octets).ok()).flatten()
}

/// Whether a send that the kernel was to cut may go uncut: `EINVAL` for a socket without checksums or too many datagrams, `EIO`
/// for a device that sums nothing, `EMSGSIZE` for datagrams that are too long for the path, which each then tells by itself
/// (`udp_send_skb` of net/ipv4/udp.c).
fn is_refused_segmentation(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::IO | Errno::MSGSIZE))
}

/// Whether there is room in the socket's send buffer within `patience`.
fn wait_writable(socket: &UdpSocket, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn drop_reason(error: &io::Error) -> DropReason {
    match Errno::from_io_error(error) {
        Some(Errno::MSGSIZE) => DropReason::TooBig,
        Some(Errno::PERM | Errno::ACCESS) => DropReason::UnderlayRefused,
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => DropReason::UnderlayFull,
        _ => DropReason::Unreachable,
    }
}
