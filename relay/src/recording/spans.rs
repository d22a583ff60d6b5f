//! Spans: stretches of a tape that are marked, as far as they touch what is not polled yet.

use arrayvec::ArrayVec;

/// Spans that may touch the ring at once. A secure session takes longer than half a ring; a script
/// that pauses more often within a second has what is between its pauses marked as well.
const MAX_SPANS: usize = 4;

/// Marked stretches of one kind, in order.
#[derive(Default)]
pub(super) struct Spans(ArrayVec<Span, MAX_SPANS>);

/// One stretch, in samples; only the last can be without an end.
struct Span {
    start: u64,
    end: Option<u64>,
}

impl Spans {
    /// Whether the last one has no end yet.
    pub(super) fn is_open(&self) -> bool {
        self.0.last().is_some_and(|span| span.end.is_none())
    }

    /// Begins one.
    pub(super) fn begin(&mut self, start: u64) {
        let is_full = self.0.is_full();
        match self.0.last_mut() {
            // Marks too much rather than too little.
            Some(last) if last.end >= Some(start) || is_full => last.end = None,
            Some(_) | None => self.0.push(Span { start, end: None }),
        }
    }

    /// Ends the open one; false if there is none.
    pub(super) fn end(&mut self, end: u64) -> bool {
        let open = self.0.last_mut().filter(|last| last.end.is_none());
        open.map(|last| last.end = Some(end)).is_some()
    }

    /// Whether one of them touches `length` samples from `start` on.
    pub(super) fn touch(&self, start: u64, length: usize) -> bool {
        let end = start + length as u64;
        self.0.iter().any(|span| span.start < end && span.end.is_none_or(|end| end > start))
    }

    /// Forgets what lies before `base`.
    pub(super) fn forget_before(&mut self, base: u64) {
        self.0.retain(|span| span.end.is_none_or(|end| end > base));
    }
}
