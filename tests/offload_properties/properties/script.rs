//! Octets read as a script: frames of eight flows, most of them such as may be joined, some not.

use vxgate_offload::Joins;

use super::coalesce::Event;
use super::frames::{ACK, CWR, DF, FIN, Frame, PSH, SYN};

/// Octets of the payload of a flow's frames.
const SIZES: [usize; 8] = [1400, 18, 1, 2, 7, 536, 9000, 21_000];

/// As many events as a script gives at most.
const EVENTS_MAX: usize = 400;

/// One flow: what its next frame is.
struct Flow {
    frame: Frame,
    size: usize,
}

/// Reads octet by octet; past the end all are zero.
pub(crate) struct Octets<'a>(pub(crate) &'a [u8]);

impl Octets<'_> {
    pub(crate) fn take_u16(&mut self) -> u16 {
        u16::from_le_bytes([self.take(), self.take()])
    }

    pub(crate) fn take(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// Which superframes are taken, and what comes: the first nine octets say how, each further one (with what it asks for) is an event.
pub(crate) fn read(data: &[u8]) -> (Joins, Vec<Event>) {
    let mut octets = Octets(data);
    let joins = joins_of(octets.take());
    let mut flows: Vec<Flow> = (0..8).map(|index| flow(index, octets.take())).collect();
    let mut events = Vec::new();
    while !octets.0.is_empty() && events.len() < EVENTS_MAX {
        let octet = octets.take();
        let index = usize::from(octet & 7);
        events.push(event(&mut flows[index], octet >> 3, &mut octets));
    }
    (joins, events)
}

/// The shapes that the eight flows have.
fn flow(index: u8, size: u8) -> Flow {
    let mut frame = Frame::new(index & 2 != 0, index & 1 != 0, Vec::new());
    frame.flow = index;
    match index {
        4 => frame.tags = vec![0x2005],
        5 => {
            frame.tags = vec![7, 8];
            frame.fragment = 0;
        }
        6 => frame.tcp_options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        7 => frame.tos = 0xb8 | 1,
        // Without DF the identification counts.
        _ => frame.fragment = if index == 0 { 0 } else { DF },
    }
    frame.sequence = u32::MAX - 30_000;
    frame.identification = u16::MAX - 5;
    Flow { frame, size: SIZES[usize::from(size) % SIZES.len()] }
}

/// The next frame of a flow; `what` says how it differs from one that is joined.
fn event(flow: &mut Flow, what: u8, octets: &mut Octets<'_>) -> Event {
    let mut frame = flow.frame.clone();
    let mut size = flow.size;
    let mut follows = true;
    match what {
        16 => size = usize::from(octets.take()) % size,
        17 => size += 1,
        18 => frame.flags |= PSH,
        19 => frame.flags |= FIN,
        20 => size = 0,
        21 => {
            frame.sequence = frame.sequence.wrapping_sub(size as u32);
            follows = false;
        }
        22 => frame.sequence = frame.sequence.wrapping_add(u32::from(octets.take())),
        23 => frame.identification = frame.identification.wrapping_add(u16::from(octets.take())),
        24 => frame.window ^= 1,
        25 => frame.ttl -= 1,
        26 => frame.fragment = 0x2000,
        27 => frame.extra_octets = 8,
        28 => frame.flags |= [CWR, SYN, 0x04, 0x20][usize::from(octets.take() % 4)],
        29 => frame.ack += 1,
        _ => {}
    }
    // Each frame's payload is its own, so that none is taken for another.
    let first = frame.sequence.to_be_bytes();
    frame.payload = (0..size).map(|at| first[at % 4] ^ (at / 4) as u8 ^ frame.identification as u8).collect();
    frame.flags |= ACK;
    if follows {
        flow.frame.sequence = frame.sequence.wrapping_add(size as u32);
        flow.frame.identification = frame.identification.wrapping_add(1);
    }
    let mut built = frame.build();
    match what {
        15 => built.extend([0; 3]),
        30 => {
            let at = usize::from(octets.take()) | usize::from(octets.take()) << 8;
            let at = at % built.len();
            built[at] ^= octets.take();
        }
        31 => match octets.take() % 4 {
            0 => return Event::Flush,
            1 => return Event::GiveWay(built),
            // No checksum.
            2 => built[frame.checksum_field()..][..2].fill(0),
            _ => return Event::SetJoins(joins_of(octets.take())),
        },
        _ => {}
    }
    Event::Offer(built)
}

fn joins_of(bits: u8) -> Joins {
    Joins { tcp4: bits & 1 == 0, tcp6: bits & 2 == 0, udp4: bits & 4 == 0, udp6: bits & 8 == 0 }
}
