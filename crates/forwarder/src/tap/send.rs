//! The sending half of the TAP port: frames of one flow go to the kernel as a superframe.
//!
//! ```text
//!   push ─► whole frame? ─► Coalescer ─► (a run ends, or flush) ─► write
//!               └─ unfinished: what is held of its flow first ───► write
//! ```

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use vxgate_codec::MacAddr;
use vxgate_core::DropReason;
use vxgate_offload::{Coalescer, Joins, Offer, VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader, Work};
use vxgate_sys::tap::{Tap, VNET_HEADER_OCTETS};

use super::slots::FRAME_OCTETS;
use super::{TapOffload, mtu_octets, written};
use crate::port::{Device, Frame, HEADROOM_OCTETS, PortTx};

/// The sending half of a [`TapPort`](super::TapPort).
pub struct TapTx {
    coalescer: Coalescer,
    writer: Writer,
    offload: Arc<TapOffload>,
    /// The MTU as it was last told.
    mtu_octets: Cell<Option<usize>>,
}

/// Writes to the device, and does what the device will not do.
struct Writer {
    tap: Arc<Tap>,
    scratch: Box<[u8]>,
    /// A segment with its header, where the kernel does not cut.
    whole: Vec<u8>,
    gone: Option<io::Error>,
    /// Frames that were held, and that the device then refused.
    lost: usize,
    /// Which superframes the device has refused since this was last looked at.
    refused: Joins,
}

impl TapTx {
    pub(super) fn new(tap: Arc<Tap>, offload: Arc<TapOffload>) -> Self {
        let writer = Writer {
            tap,
            scratch: vec![0; FRAME_OCTETS].into_boxed_slice(),
            whole: Vec::with_capacity(VNET_HEADER_OCTETS + FRAME_OCTETS),
            gone: None,
            lost: 0,
            refused: Joins::NONE,
        };
        let coalescer = Coalescer::new(offload.joins(), HEADROOM_OCTETS);
        Self { coalescer, writer, offload, mtu_octets: Cell::new(None) }
    }

    /// Joins no more of what the device has refused.
    #[cold]
    fn demote(&mut self) {
        let refused = std::mem::replace(&mut self.writer.refused, Joins::NONE);
        self.offload.refuse(refused);
        self.coalescer.set_joins(self.offload.joins());
    }
}

impl PortTx for TapTx {
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason> {
        let Self { coalescer, writer, .. } = self;
        let mut emit = |held: vxgate_offload::Superframe<'_>| {
            if writer.write(held.buffer, held.range, held.work).is_err() {
                writer.lost += held.frames;
            }
        };
        let offer = if frame.work == Work::Done {
            coalescer.push(frame.octets(), &mut emit)
        } else {
            coalescer.give_way(frame.octets(), &mut emit);
            Offer::Pass
        };
        let outcome = match offer {
            Offer::Held => Ok(()),
            Offer::Pass => writer.write(frame.buffer, frame.range, frame.work),
        };
        if writer.refused != Joins::NONE {
            self.demote();
        }
        outcome
    }

    fn flush(&mut self) -> io::Result<usize> {
        let Self { coalescer, writer, .. } = self;
        coalescer.flush(&mut |held| {
            if writer.write(held.buffer, held.range, held.work).is_err() {
                writer.lost += held.frames;
            }
        });
        if self.writer.refused != Joins::NONE {
            self.demote();
        }
        let lost = std::mem::take(&mut self.writer.lost);
        self.writer.gone.take().map_or(Ok(lost), Err)
    }

    fn device(&self) -> io::Result<Device> {
        let tap = &self.writer.tap;
        let mac = MacAddr::new(tap.mac()?);
        // In another network namespace the device still carries frames, but its MTU cannot be asked from here.
        let mtu = tap.mtu().map(mtu_octets);
        let mtu_octets = mtu.or_else(|error| self.mtu_octets.get().ok_or(error))?;
        self.mtu_octets.set(Some(mtu_octets));
        Ok(Device { mac, mtu_octets })
    }
}

impl Writer {
    /// Writes the frame at `range`, its virtio header in front of it.
    fn write(&mut self, buffer: &mut [u8], range: Range<usize>, work: Work) -> Result<(), DropReason> {
        let start = range.start - VNET_HEADER_OCTETS;
        let header = &mut buffer[start..range.start];
        header.fill(0);
        header[..VIRTIO_NET_HEADER_OCTETS].copy_from_slice(&work.to_virtio().to_bytes());
        let outcome = self.tap.write(&buffer[start..range.end]);
        let contradicted = matches!(&outcome, Err(error) if error.kind() == ErrorKind::InvalidInput);
        match written(outcome, &mut self.gone) {
            // The kernel takes the frame but not the work: do it here.
            Err(DropReason::PortRefused) if work != Work::Done => {
                let Self { tap, scratch, whole, gone, .. } = self;
                let mut outcome = Ok(());
                work.finish(&mut buffer[range], scratch, |segment| {
                    whole.clear();
                    whole.resize(VNET_HEADER_OCTETS, 0);
                    whole.extend_from_slice(segment);
                    outcome = outcome.and(written(tap.write(whole), gone));
                });
                if contradicted && outcome.is_ok() {
                    self.note_refused(work);
                }
                outcome
            }
            outcome => outcome,
        }
    }

    /// The kernel took the segments and not the superframe.
    #[cold]
    fn note_refused(&mut self, work: Work) {
        match work.to_virtio().gso_type & !VirtioNetHeader::GSO_ECN {
            VirtioNetHeader::GSO_UDP_L4 => {
                (self.refused.udp4, self.refused.udp6) = (true, true);
            }
            VirtioNetHeader::GSO_TCPV4 => self.refused.tcp4 = true,
            VirtioNetHeader::GSO_TCPV6 => self.refused.tcp6 = true,
            _ => {}
        }
    }
}
