//! The counters of all workers of a segment, added up.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Counters, Counts, PeerCounts, PeerId};

/// The counters of all workers of a segment: each thread writes its own, and who reads adds them up.
#[derive(Clone, Debug)]
pub struct AllCounters(Vec<Arc<Counters>>);

impl AllCounters {
    pub(crate) fn new(workers: &[Arc<Counters>]) -> AllCounters {
        AllCounters(workers.to_vec())
    }

    /// All totals.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        self.0.iter().fold(Counts::default(), |sum, counters| add(sum, counters.snapshot()))
    }

    /// The counters of one remote; all zero for a number that is not in use.
    #[must_use]
    pub fn peer(&self, peer: PeerId) -> PeerCounts {
        self.0.iter().map(|counters| counters.peer(peer)).fold(PeerCounts::default(), |sum, counts| {
            PeerCounts {
                rx: sum.rx.add(counts.rx),
                tx: sum.tx.add(counts.tx),
                last_heard: sum.last_heard.max(counts.last_heard),
            }
        })
    }
}

/// Names every field, so that a new one is not forgotten.
fn add(one: Counts, other: Counts) -> Counts {
    let Counts {
        overlay_in,
        floods,
        flood_copies,
        sent,
        underlay_in,
        delivered,
        overlay_drops,
        underlay_drops,
        entries,
        learned,
        moved,
        moves_damped,
        aged,
        refused_macs,
        refused_share,
        refused_peers,
        events_lost,
        sightings_deferred,
        own,
        probes,
        probe_answers,
        answers_refused,
        unreachable_hints,
        transmits_lost,
    } = other;
    Counts {
        overlay_in: one.overlay_in.add(overlay_in),
        floods: one.floods + floods,
        flood_copies: one.flood_copies + flood_copies,
        sent: one.sent.add(sent),
        underlay_in: one.underlay_in.add(underlay_in),
        delivered: one.delivered.add(delivered),
        overlay_drops: each(one.overlay_drops, &overlay_drops),
        underlay_drops: each(one.underlay_drops, &underlay_drops),
        entries: one.entries + entries,
        learned: one.learned + learned,
        moved: one.moved + moved,
        moves_damped: one.moves_damped + moves_damped,
        aged: one.aged + aged,
        refused_macs: one.refused_macs + refused_macs,
        refused_share: one.refused_share + refused_share,
        refused_peers: one.refused_peers + refused_peers,
        events_lost: one.events_lost + events_lost,
        sightings_deferred: one.sightings_deferred + sightings_deferred,
        own: one.own.add(own),
        probes: one.probes + probes,
        probe_answers: one.probe_answers + probe_answers,
        answers_refused: each(one.answers_refused, &answers_refused),
        unreachable_hints: one.unreachable_hints + unreachable_hints,
        transmits_lost: one.transmits_lost + transmits_lost,
    }
}

fn each<const N: usize>(mut one: [u64; N], other: &[u64; N]) -> [u64; N] {
    one.iter_mut().zip(other).for_each(|(one, other)| *one += other);
    one
}
