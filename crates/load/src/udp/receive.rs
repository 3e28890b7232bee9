//! The far end of a lane: one thread that counts what arrives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vxgate_sys::udp::{RecvBatch, UdpSocket, recv_batch};

use super::STAMP_OCTETS;
use crate::sequence::Sequence;

/// Datagrams taken in one recvmmsg(2).
const BATCH: usize = 64;
/// Longest datagram, in octets; what is longer is cut, and counts.
const SLOT_OCTETS: usize = 2048;
/// Flows of one lane, as many as are worth telling apart.
const FLOWS_MAX: usize = 1024;
/// Nothing is waited for longer than that before the thread looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Counts the datagrams of `run` until `end`; answers what the numbers of each flow told.
pub(super) fn lane(socket: &UdpSocket, run: u16, received: &AtomicU64, end: &AtomicBool) -> Vec<Sequence> {
    let mut batch = RecvBatch::new(BATCH, 0, SLOT_OCTETS);
    let mut flows: Vec<Sequence> = Vec::new();
    while !end.load(Ordering::Relaxed) {
        // What the network said of a datagram is nothing to a receiver.
        let count = recv_batch(socket, &mut batch).unwrap_or(0);
        if count == 0 {
            let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&LOOK));
            continue;
        }
        let mut own = 0;
        for index in 0..count {
            let Some(datagram) = batch.datagram(index) else { continue };
            let Some((flow, number)) = stamp(&batch.slot(index)[datagram.range], run) else { continue };
            if flow >= flows.len() {
                flows.resize_with(flow + 1, Sequence::default);
            }
            flows[flow].arrived(number);
            own += 1;
        }
        received.fetch_add(own, Ordering::Relaxed);
    }
    flows
}

/// Flow and number of a datagram of this run.
fn stamp(payload: &[u8], run: u16) -> Option<(usize, u64)> {
    let (stamp, _) = payload.split_first_chunk::<STAMP_OCTETS>()?;
    let [run_0, run_1, flow_0, flow_1, number @ ..] = *stamp;
    let flow = usize::from(u16::from_be_bytes([flow_0, flow_1]));
    (u16::from_be_bytes([run_0, run_1]) == run && flow < FLOWS_MAX)
        .then(|| (flow, u64::from_be_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_another_run_or_a_stranger_s_datagram_is_none() {
        let payload = [0, 7, 0, 2, 0, 0, 0, 0, 0, 0, 1, 1, 99];
        assert_eq!(stamp(&payload, 7), Some((2, 257)));
        assert_eq!(stamp(&payload, 8), None);
        assert_eq!(stamp(&payload[..11], 7), None);
        assert_eq!(stamp(&[0, 7, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0], 7), None);
    }
}
