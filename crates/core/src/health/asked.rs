//! Probes that may still be answered.
//!
//! Neither ARP nor neighbour discovery numbers its questions, so that an answer does not say which one it is to. While several
//! are open, an answer counts for one of them, and its time is not taken for a round trip (Karn's rule, RFC 6298 section 3). Should
//! it be taken for the wrong one, later ones are, too, where the path takes longer than the pause between two probes; so now and
//! then a probe is sent alone, [`CLEAR`] of any other.

use core::time::Duration;

use crate::Timestamp;

/// How many open probes are remembered, at most: those of the default pace on a path of 600 ms. Of more, the oldest is forgotten;
/// an answer to it then counts for another one.
const LINES: usize = 16;
/// How long a probe can be answered: longer than any path takes.
const OPEN: Duration = Duration::from_secs(2);
/// An answer comes from the last probe for certain when no other one was sent in this time before it.
pub(crate) const CLEAR: Duration = Duration::from_millis(500);

/// When the probes were sent that may still be answered, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    sent: [Timestamp; LINES],
    count: usize,
}

impl Asked {
    pub(crate) const NOTHING: Asked = Asked { sent: [Timestamp::ZERO; LINES], count: 0 };

    fn open(&self) -> &[Timestamp] {
        self.sent.get(..self.count).unwrap_or_default()
    }

    /// Notes that a probe is sent.
    pub(crate) fn ask(&mut self, now: Timestamp) {
        if self.count == LINES {
            self.forget(1);
        }
        if let Some(place) = self.sent.get_mut(self.count) {
            *place = now;
            self.count += 1;
        }
    }

    /// Takes an answer for a probe: `None` where none is open, else the round-trip time if it is certain.
    pub(crate) fn answer(&mut self, now: Timestamp) -> Option<Option<Duration>> {
        let expired = self.open().iter().take_while(|sent| now.saturating_since(**sent) > OPEN).count();
        self.forget(expired);
        let (last, before) = self.open().split_last()?;
        let is_recent = |sent: Timestamp| now.saturating_since(sent) < CLEAR;
        let (last, is_clear) = (*last, is_recent(*last) && !before.iter().any(|sent| is_recent(*sent)));
        // Where it may be to either, it is more likely to the last one: we wait for as long as an answer takes before we ask again.
        self.count -= 1;
        Some(is_clear.then_some(now.saturating_since(last)))
    }

    fn forget(&mut self, oldest: usize) {
        self.sent.rotate_left(oldest.min(LINES));
        self.count = self.count.saturating_sub(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_duration(Duration::from_millis(millis))
    }

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn each_probe_can_be_answered_once_and_for_two_seconds() {
        let mut asked = Asked::NOTHING;
        assert_eq!(asked.answer(at(0)), None);
        asked.ask(at(0));
        assert_eq!(asked.answer(at(7)), Some(Some(millis(7))));
        assert_eq!(asked.answer(at(8)), None);
        asked.ask(at(10));
        assert_eq!(asked.answer(at(2011)), None);
    }

    #[test]
    fn an_answer_that_may_be_to_either_of_two_probes_tells_no_time() {
        let mut asked = Asked::NOTHING;
        asked.ask(at(0));
        asked.ask(at(40));
        assert_eq!(asked.answer(at(41)), Some(None));
        asked.ask(at(700));
        assert_eq!(asked.answer(at(702)), Some(Some(millis(2))), "the other one is too long ago");
        assert!(asked.answer(at(703)).is_some() && asked.answer(at(704)).is_none(), "three were sent");
    }

    #[test]
    fn of_more_probes_than_there_are_lines_for_the_oldest_are_forgotten() {
        let mut asked = Asked::NOTHING;
        for sent in 0..100 {
            asked.ask(at(sent));
        }
        let answered = (0..100).filter(|_| asked.answer(at(100)).is_some()).count();
        assert_eq!(answered, LINES);
    }
}
