//! What a flow's sequence numbers tell.

/// The datagrams of one flow as they arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Arrived.
    pub(crate) received: u64,
    /// Of them, after a later one.
    pub(crate) reordered: u64,
    /// The number after the latest that arrived.
    next: u64,
}

impl Sequence {
    /// Number `number` has arrived.
    pub(crate) fn arrived(&mut self, number: u64) {
        self.received += 1;
        if number < self.next {
            self.reordered += 1;
        } else {
            self.next = number + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: impl IntoIterator<Item = u64>) -> (u64, u64) {
        let mut sequence = Sequence::default();
        numbers.into_iter().for_each(|number| sequence.arrived(number));
        (sequence.received, sequence.reordered)
    }

    #[test]
    fn what_comes_after_a_later_one_is_reordered_and_a_gap_is_not() {
        assert_eq!(of(0..10), (10, 0));
        assert_eq!(of([0, 1, 5, 6, 9]), (5, 0), "lost ones are nobody's disorder");
        assert_eq!(of([0, 2, 1, 3]), (4, 1));
        assert_eq!(of([9, 0, 1, 2, 10]), (5, 3), "one that runs ahead makes late ones of all it overtook");
        assert_eq!(of([0, 0]), (2, 1), "a copy comes after its own place");
        assert_eq!(of([]), (0, 0));
    }
}
