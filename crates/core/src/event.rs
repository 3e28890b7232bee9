//! What happened that somebody may want to know of.

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use vxgate_codec::MacAddr;

use crate::DownReason;

/// A change that the segment made by itself. What control asked for is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new dynamic entry.
    Learned {
        /// Whose.
        mac: MacAddr,
        /// The remote that it is behind.
        dst: IpAddr,
    },
    /// A dynamic entry went to another remote.
    Moved {
        /// Whose.
        mac: MacAddr,
        /// The remote that it was behind.
        from: IpAddr,
        /// The remote that it is behind now.
        to: IpAddr,
    },
    /// A dynamic entry moves too often, and stays where it is for a while.
    Damped {
        /// Whose.
        mac: MacAddr,
        /// The remote that it stays at.
        at: IpAddr,
        /// The remote that it is seen at, too.
        and: IpAddr,
    },
    /// A dynamic entry was not heard of for the ageing time.
    Aged {
        /// Whose.
        mac: MacAddr,
        /// The remote that it was behind.
        dst: IpAddr,
    },
    /// A peer is down: nothing unknown is sent to it any more, unless no peer is left.
    PeerDown {
        /// Its outer address.
        addr: IpAddr,
        /// Why.
        why: DownReason,
    },
    /// A peer that was down is sent to again.
    PeerUp {
        /// Its outer address.
        addr: IpAddr,
        /// How long it was down.
        after: Duration,
    },
    /// The last peer that was not down is: all of them are sent to again, until one is up.
    AllPeersSilent,
    /// The path to a peer carries another size than was known.
    PathMtu {
        /// Its outer address.
        addr: IpAddr,
        /// What it carries, in octets of the outer IP packet.
        octets: u16,
    },
}

impl Event {
    /// Whether it is about one station, of which there may be as many as anybody likes to make up.
    const fn is_of_a_station(&self) -> bool {
        match self {
            Self::Learned { .. } | Self::Moved { .. } | Self::Damped { .. } | Self::Aged { .. } => true,
            Self::PeerDown { .. } | Self::PeerUp { .. } | Self::AllPeersSilent | Self::PathMtu { .. } => {
                false
            }
        }
    }
}

/// The events that nobody has taken yet, oldest first; above the limit new ones are lost and counted.
#[derive(Debug)]
pub(crate) struct EventQueue(VecDeque<Event>);

/// How many events wait at most: a thousand lines of log are read by no one sooner than by nobody.
pub(crate) const MAX_EVENTS: usize = 1024;

/// How many more of peers and paths: something is done about those, and a flood of stations shall not keep them from being told.
const MORE_OF_PEERS: usize = 128;

impl EventQueue {
    pub(crate) fn new() -> EventQueue {
        EventQueue(VecDeque::with_capacity(MAX_EVENTS + MORE_OF_PEERS))
    }

    /// Whether there was room.
    pub(crate) fn push(&mut self, event: Event) -> bool {
        let more = if event.is_of_a_station() { 0 } else { MORE_OF_PEERS };
        let room = self.0.len() < MAX_EVENTS + more;
        if room {
            self.0.push_back(event);
        }
        room
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_stations_leaves_room_for_what_becomes_of_peers() {
        let dst = IpAddr::from([192, 0, 2, 1]);
        let learned = Event::Learned { mac: MacAddr::BROADCAST, dst };
        let mut queue = EventQueue::new();
        assert_eq!((0..2 * MAX_EVENTS).filter(|_| queue.push(learned)).count(), MAX_EVENTS);
        let down = Event::PeerDown { addr: dst, why: DownReason::Silent };
        assert!(queue.push(down) && !queue.push(learned));
        assert_eq!(core::iter::from_fn(|| queue.pop()).last(), Some(down), "in its turn");
        assert_eq!((0..2 * MAX_EVENTS).filter(|_| queue.push(down)).count(), MAX_EVENTS + MORE_OF_PEERS);
    }
}
