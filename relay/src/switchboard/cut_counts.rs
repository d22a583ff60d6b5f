//! CutCounts: what a leg counted while its call was cut. It tells of keys, so it is told to nobody.

use super::snapshot::LegCounts;

/// What came in the cuts of a call so far. Marked at the flip and at the reopening, so that a
/// packet in between costs no more than any other.
#[derive(Default)]
pub(super) struct CutCounts {
    over: LegCounts,
    /// What the leg had counted when the present cut began.
    before: Option<LegCounts>,
}

impl CutCounts {
    /// A cut begins at these counters. One that is in force goes on.
    pub(super) fn begin(&mut self, counted: LegCounts) {
        self.before.get_or_insert(counted);
    }

    /// The cut is over at these counters.
    pub(super) fn end(&mut self, counted: LegCounts) {
        self.over = self.total(counted);
        self.before = None;
    }

    /// What came in all cuts, the one in force included.
    pub(super) fn total(&self, counted: LegCounts) -> LegCounts {
        match self.before {
            Some(before) => self.over.plus(counted.received_since(before)),
            None => self.over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::routing::DropReason;
    use super::*;

    fn counts(packets_received: u64, cut: u64, unsent: u64) -> LegCounts {
        let mut drops = [0; DropReason::ALL.len()];
        drops[DropReason::Cut.index()] = cut;
        drops[DropReason::Unsent.index()] = unsent;
        LegCounts { packets_received, drops }
    }

    #[test]
    fn only_what_came_in_a_cut_is_counted() {
        let mut cuts = CutCounts::default();
        assert_eq!(cuts.total(counts(10, 1, 0)), counts(0, 0, 0), "there was no cut");
        cuts.begin(counts(10, 1, 0));
        cuts.begin(counts(12, 1, 0));
        assert_eq!(cuts.total(counts(15, 3, 0)), counts(5, 2, 0), "a cut in force counts");
        cuts.end(counts(16, 3, 0));
        assert_eq!(cuts.total(counts(40, 9, 0)), counts(6, 2, 0), "and what follows it does not");
        cuts.begin(counts(40, 9, 0));
        cuts.end(counts(41, 9, 0));
        assert_eq!(cuts.total(counts(50, 9, 0)), counts(7, 2, 0), "two cuts add up");
    }

    #[test]
    fn what_was_not_sent_to_the_party_is_nothing_it_sent() {
        let mut cuts = CutCounts::default();
        cuts.begin(counts(10, 0, 1));
        assert_eq!(cuts.total(counts(11, 0, 5)), counts(1, 0, 0));
    }
}
