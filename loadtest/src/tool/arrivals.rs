//! Arrivals: which of one leg's numbered packets have come, and in what order.

/// How far a packet may come behind the newest and still be told from a repeated one.
const WINDOW: u32 = 64;

/// One stream as its receiver saw it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arrivals {
    /// One above the highest number that has come.
    next: u32,
    /// Bit n: number `next - 1 - n` has come.
    seen: u64,
    came: u64,
    reordered: u64,
    repeated: u64,
}

impl Arrivals {
    /// Notes that the packet with this number has come.
    pub(crate) fn note(&mut self, number: u32) {
        if number >= self.next {
            let step = number - self.next + 1;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.next = number + 1;
            self.came += 1;
            return;
        }
        let behind = self.next - 1 - number;
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        if behind >= WINDOW || self.seen & bit == 0 {
            self.seen |= bit;
            self.came += 1;
            self.reordered += 1;
        } else {
            self.repeated += 1;
        }
    }

    /// Packets that came, each counted once.
    pub(crate) fn came(&self) -> u64 {
        self.came
    }

    /// Packets that came behind a later one.
    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that came again.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: impl IntoIterator<Item = u32>) -> (u64, u64, u64) {
        let mut arrivals = Arrivals::default();
        numbers.into_iter().for_each(|number| arrivals.note(number));
        (arrivals.came(), arrivals.reordered(), arrivals.repeated())
    }

    #[test]
    fn in_order_is_neither_reordered_nor_repeated() {
        assert_eq!(after(0..1000), (1000, 0, 0));
    }

    #[test]
    fn a_gap_is_no_disorder() {
        assert_eq!(after([0, 1, 5, 200]), (4, 0, 0));
    }

    #[test]
    fn late_ones_are_reordered_and_copies_repeated() {
        assert_eq!(after([0, 2, 1, 2, 1, 0]), (3, 1, 3));
        assert_eq!(after([100, 10]), (2, 1, 0));
    }
}
