//! Spoken: what of a model's words lies where in what is played.

use std::collections::VecDeque;

/// Items that are remembered. A minute may wait to be played, which is some dozen of them.
const MAX_ITEMS: usize = 64;

/// A model's items in the order in which they are played, by octets since the connection began.
#[derive(Default)]
pub(super) struct Spoken {
    items: VecDeque<Item>,
    end: u64,
}

struct Item {
    id: String,
    start: u64,
    end: u64,
}

impl Spoken {
    /// So many octets more of an item wait to be played.
    pub(super) fn add(&mut self, id: String, octets: usize) {
        let start = self.end;
        self.end += octets as u64;
        match self.items.back_mut() {
            Some(last) if last.id == id => last.end = self.end,
            Some(_) | None => self.items.push_back(Item { id, start, end: self.end }),
        }
        if self.items.len() > MAX_ITEMS {
            self.items.pop_front();
        }
    }

    /// All that waits is gone, after so many octets were played: the items that weren't heard to
    /// their ends, and how many octets of each were.
    pub(super) fn cut(&mut self, played: u64) -> Vec<(String, u64)> {
        self.end = played;
        let unheard = self.items.drain(..).filter(|item| item.end > played);
        unheard.map(|item| (item.id, played.saturating_sub(item.start))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ITEMS, Spoken};

    #[test]
    fn what_was_not_heard_is_known_by_item() {
        let mut spoken = Spoken::default();
        spoken.add("a".to_owned(), 100);
        spoken.add("b".to_owned(), 60);
        spoken.add("b".to_owned(), 40);
        spoken.add("c".to_owned(), 10);
        assert_eq!(spoken.cut(130), [("b".to_owned(), 30), ("c".to_owned(), 0)]);
        // What comes after begins where playing stopped.
        spoken.add("d".to_owned(), 50);
        assert_eq!(spoken.cut(150), [("d".to_owned(), 20)]);
        assert!(spoken.cut(150).is_empty());
    }

    #[test]
    fn what_was_heard_is_not_cut() {
        let mut spoken = Spoken::default();
        spoken.add("a".to_owned(), 100);
        assert!(spoken.cut(100).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut spoken = Spoken::default();
        for item in 0..1000 {
            spoken.add(item.to_string(), 1);
        }
        assert_eq!(spoken.items.len(), MAX_ITEMS);
    }
}
