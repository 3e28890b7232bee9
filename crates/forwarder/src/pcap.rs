//! A port that writes each frame that passes to a capture file, in both directions.
//!
//! The file is classic pcap with nanosecond stamps (draft-ietf-opsawg-pcap: magic 0xa1b23c4d, link type 1).

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use vxgate_core::DropReason;

use crate::port::{Device, Frame, Port, PortRx, PortTx};

/// Octets of a frame that a capture keeps: whole superframes.
const SNAP_OCTETS: u32 = 262_144;

/// A [`Port`] whose frames are written to `W` as they pass, unfinished checksums included.
///
/// A capture that can no longer be written ends; the frames go on.
pub struct PcapPort<P, W> {
    inner: P,
    capture: Arc<Mutex<Capture<W>>>,
}

impl<P: Port, W: Write + Send + 'static> PcapPort<P, W> {
    /// Wraps `inner` and writes the file header to `sink`.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn new(inner: P, mut sink: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
        header.extend_from_slice(&2_u16.to_le_bytes());
        header.extend_from_slice(&4_u16.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&SNAP_OCTETS.to_le_bytes());
        header.extend_from_slice(&1_u32.to_le_bytes());
        sink.write_all(&header)?;
        Ok(Self { inner, capture: Arc::new(Mutex::new(Capture { sink: Some(sink) })) })
    }
}

impl<P: Port, W: Write + Send + 'static> Port for PcapPort<P, W> {
    type Rx = PcapRx<P::Rx, W>;
    type Tx = PcapTx<P::Tx, W>;

    fn split(self) -> (Self::Rx, Self::Tx) {
        let (rx, tx) = self.inner.split();
        (
            PcapRx { inner: rx, capture: Arc::clone(&self.capture) },
            PcapTx { inner: tx, capture: self.capture },
        )
    }
}

struct Capture<W> {
    sink: Option<W>,
}

impl<W: Write> Capture<W> {
    fn record(&mut self, frame: &[u8]) {
        let Some(sink) = &mut self.sink else { return };
        if let Err(error) = Self::write(sink, frame) {
            tracing::warn!(%error, "the capture ends here");
            self.sink = None;
        }
    }

    fn write(sink: &mut W, frame: &[u8]) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a capture's stamps are the time of day at the edge")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The seconds of a classic capture end in 2106; a frame is shorter than the snap length.
        let (seconds, octets) = (now.as_secs() as u32, frame.len() as u32);
        let mut header = [0; 16];
        for (field, value) in header.chunks_exact_mut(4).zip([seconds, now.subsec_nanos(), octets, octets]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        sink.write_all(&header)?;
        sink.write_all(frame)
    }

    fn flush(&mut self) {
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.flush()
        {
            tracing::warn!(%error, "the capture ends here");
            self.sink = None;
        }
    }
}

/// The receiving half of a [`PcapPort`].
pub struct PcapRx<R, W> {
    inner: R,
    capture: Arc<Mutex<Capture<W>>>,
}

impl<R: PortRx, W: Write + Send> PortRx for PcapRx<R, W> {
    fn recv(&mut self) -> io::Result<usize> {
        let count = self.inner.recv()?;
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..count {
            capture.record(self.inner.frame(index).octets());
        }
        capture.flush();
        Ok(count)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.inner.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn take_rejected(&mut self) -> usize {
        self.inner.take_rejected()
    }
}

/// The sending half of a [`PcapPort`].
pub struct PcapTx<T, W> {
    inner: T,
    capture: Arc<Mutex<Capture<W>>>,
}

impl<T: PortTx, W: Write + Send> PortTx for PcapTx<T, W> {
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner).record(frame.octets());
        self.inner.push(frame)
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner).flush();
        self.inner.flush()
    }

    fn device(&self) -> io::Result<Device> {
        self.inner.device()
    }
}
