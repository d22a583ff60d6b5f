//! Tree: the Merkle tree over all lines (RFC 6962 section 2.1), in logarithmic memory.
//!
//! The tree of n leaves is that of its perfect subtrees, one for each bit of n, largest first. Only
//! their roots are kept. A new leaf joins those that it completes; the whole tree's root joins what
//! is left, from the right.

use crate::hash::Sha256;

/// Domains of leaves and nodes, so that none passes for the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The tree over the lines so far.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees, largest first: 64 at most.
    peaks: Vec<Sha256>,
}

impl Tree {
    /// Adds a line, without its newline.
    pub fn push(&mut self, line: &[u8]) {
        let mut hash = leaf(line);
        let mut size = self.size;
        while size & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node(left, hash);
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The tree of a size that has these peaks; `None` if they are too many or too few.
    pub(crate) fn from_peaks(size: u64, peaks: Vec<Sha256>) -> Option<Tree> {
        (peaks.len() == size.count_ones() as usize).then_some(Tree { size, peaks })
    }

    pub(crate) fn peaks(&self) -> &[Sha256] {
        &self.peaks
    }

    /// Lines so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(smallest) = peaks.next() else { return Sha256::of(b"") };
        peaks.fold(smallest, |right, left| node(left, right))
    }
}

fn leaf(line: &[u8]) -> Sha256 {
    let mut octets = Vec::with_capacity(1 + line.len());
    octets.push(LEAF);
    octets.extend_from_slice(line);
    Sha256::of(&octets)
}

fn node(left: Sha256, right: Sha256) -> Sha256 {
    let mut octets = [NODE; 65];
    octets[1..33].copy_from_slice(&left.0);
    octets[33..].copy_from_slice(&right.0);
    Sha256::of(&octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MTH of RFC 6962, as it is defined there.
    fn defined(leaves: &[Vec<u8>]) -> Sha256 {
        match leaves {
            [] => Sha256::of(b""),
            [one] => Sha256::of(&[&[0], one.as_slice()].concat()),
            more => {
                let mut half = 1;
                while half * 2 < more.len() {
                    half *= 2;
                }
                let (left, right) = more.split_at(half);
                Sha256::of(&[&[1], &defined(left).0[..], &defined(right).0[..]].concat())
            }
        }
    }

    #[test]
    fn each_root_is_that_of_the_definition() {
        let leaves: Vec<Vec<u8>> = (0..300_u32).map(|n| format!("leaf {n}").into()).collect();
        let mut tree = Tree::default();
        for size in 0..=leaves.len() {
            assert_eq!(tree.root(), defined(&leaves[..size]), "{size} leaves");
            assert_eq!(tree.size(), size as u64);
            assert_eq!(tree.peaks.len() as u32, (size as u64).count_ones());
            if let Some(leaf) = leaves.get(size) {
                tree.push(leaf);
            }
        }
    }

    /// Computed by `tests/audit_log.py tree`, which shares no code with this.
    #[test]
    fn roots_are_those_of_another_implementation() {
        let roots = [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "1bb97dcc21635d47e2663efdfd0a174686d98dd701352dd2cd06e8b43fd3d305"),
            (2, "fc5f6b88ff8554f75bb2f9e6f39c31b1936d44b69276edf7b1205a955b9761e3"),
            (3, "d4f92c8fbb89720eb3b55677c7d7efaddfeb10d11a1a84a0ba8f1a23337faa95"),
            (7, "5a61fc2b54f9cfa71774f2432143dd40c6cb2b11947faf65a7d3da5cb65199c8"),
            (8, "c5c2c820ed342fdda8ce896b6b9cf5b8c00a21cc4b20714cc6e5d3c05c35240b"),
            (1000, "2ff33fb9d8f14f89ca306289633336a168ff3f4532e8f741a0019dcb4c1d60a1"),
            (65_537, "689b22742cab2adeb36ba622ff2736336464858f5de4a2c02f33bf163e7dca5f"),
        ];
        for (size, root) in roots {
            let mut tree = Tree::default();
            (0..size).for_each(|n| tree.push(format!("leaf {n}").as_bytes()));
            assert_eq!(tree.root().to_string(), root, "{size} leaves");
        }
    }
}
