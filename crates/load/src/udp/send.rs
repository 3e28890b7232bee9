//! The near end of a lane: one thread that sends several flows in turn.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vxgate_sys::udp::{Message, SendBatch, UdpSocket, send_batch};

use super::{Flood, STAMP_OCTETS};
use crate::clock::now;
use crate::pace::{Due, Pacer};

/// Datagrams of one flow in one sendmmsg(2): what an application that has many to send hands over at once.
const BATCH: usize = 32;

/// A full queue is waited for no longer than that before the thread looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Flows with one destination.
#[derive(Debug)]
pub(super) struct Lane {
    destination: SocketAddr,
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    /// The number of its next datagram.
    next: u64,
}

impl Lane {
    pub(super) fn new(destination: SocketAddr) -> Lane {
        Lane { destination, flows: Vec::new() }
    }

    /// One more flow.
    pub(super) fn push(&mut self, socket: UdpSocket) {
        self.flows.push(Flow { socket, next: 0 });
    }
}

/// Sends until `end`; answers why it could not.
pub(super) fn lane(
    lane: &mut Lane,
    run: u16,
    flood: Flood<'_>,
    sent: &AtomicU64,
    end: &AtomicBool,
) -> io::Result<()> {
    for flow in &mut lane.flows {
        flow.next = 0;
    }
    let mut pacer = flood.per_second.map(|rate| Pacer::new(rate, BATCH * 2));
    if pacer.is_some() {
        // Threads are woken up to 50 us late by default (PR_SET_TIMERSLACK of prctl(2)); without it, bursts are larger.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
    let mut batch = Batch::new(flood.sizes);
    let start = now();
    let mut turn = 0;
    while !lane.flows.is_empty() && !end.load(Ordering::Relaxed) {
        let due = match pacer.as_mut().map(|pacer| pacer.due(start.elapsed())) {
            None => Ok(BATCH),
            Some(Due::Now(datagrams)) => Ok(datagrams),
            Some(Due::After(time)) => Err(time),
        };
        match due {
            Err(time) => thread::park_timeout(time.min(Duration::from_millis(50))),
            Ok(datagrams) => {
                let number = turn % lane.flows.len();
                turn += 1;
                let mut left = datagrams;
                while left > 0 && !end.load(Ordering::Relaxed) {
                    let flow = &mut lane.flows[number];
                    let gone = batch.send(flow, (run, number), lane.destination, left.min(BATCH))?;
                    sent.fetch_add(gone as u64, Ordering::Relaxed);
                    left -= gone;
                }
            }
        }
    }
    Ok(())
}

/// Memory for a batch.
struct Batch<'a> {
    scratch: SendBatch,
    memory: Vec<u8>,
    slot_octets: usize,
    sizes: &'a [usize],
    /// Where in `sizes` the next datagram is.
    position: usize,
}

impl<'a> Batch<'a> {
    fn new(sizes: &'a [usize]) -> Batch<'a> {
        let slot_octets = sizes.iter().copied().max().unwrap_or(0).max(STAMP_OCTETS);
        Batch {
            scratch: SendBatch::new(BATCH),
            memory: vec![0; slot_octets * BATCH],
            slot_octets,
            sizes,
            position: 0,
        }
    }

    /// Sends up to `datagrams` of one flow and answers how many the kernel took; waits where it takes none.
    fn send(
        &mut self,
        flow: &mut Flow,
        (run, number): (u16, usize),
        destination: SocketAddr,
        datagrams: usize,
    ) -> io::Result<usize> {
        let flow_number = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let slots = self.memory.chunks_exact_mut(self.slot_octets).take(datagrams);
        for (slot, sequence) in slots.zip(flow.next..) {
            slot[..2].copy_from_slice(&run.to_be_bytes());
            slot[2..4].copy_from_slice(&flow_number);
            slot[4..STAMP_OCTETS].copy_from_slice(&sequence.to_be_bytes());
        }
        let sizes = self.sizes.iter().cycle().skip(self.position);
        let slots = self.memory.chunks_exact(self.slot_octets).take(datagrams);
        let messages = slots.zip(sizes).map(|(slot, size)| {
            Message::new(destination, &slot[..(*size).clamp(STAMP_OCTETS, self.slot_octets)])
        });
        let outcome = send_batch(&flow.socket, &mut self.scratch, messages);
        flow.next += outcome.sent as u64;
        self.position = (self.position + outcome.sent) % self.sizes.len().max(1);
        match outcome.error {
            None => {}
            Some(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A signal only means another try.
                let _ = poll(&mut [PollFd::new(&flow.socket, PollFlags::OUT)], Some(&LOOK));
            }
            Some(error) => return Err(error),
        }
        Ok(outcome.sent)
    }
}
