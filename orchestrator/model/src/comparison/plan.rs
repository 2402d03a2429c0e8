//! The plan of a comparison: which boots are pairs, and their order.

use super::paired::{FEWEST_PAIRS, MOST_PAIRS};
use crate::event::PlannedCell;
use crate::plan::Key;
use serde::{Deserialize, Serialize};

/// A comparison that a run is for. It replaces the plan's number of attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The cell of the kernel that is the base.
    pub first: Key,
    /// The cell of the other kernel; the same one for a comparison of a kernel with itself.
    pub second: Key,
    /// The number of pairs of boots, from [`FEWEST_PAIRS`] to [`MOST_PAIRS`].
    pub pairs: u32,
}

/// One of the two kernels of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

impl Compare {
    /// Returns true if a kernel is compared with itself.
    pub fn is_control(&self) -> bool {
        self.first == self.second
    }

    /// Returns the number of boots of each cell.
    pub fn boots(&self) -> u32 {
        if self.is_control() { self.pairs.saturating_mul(2) } else { self.pairs }
    }

    /// Returns the number of all boots.
    pub fn all_boots(&self) -> u32 {
        self.pairs.saturating_mul(2)
    }

    /// Returns the boots in their order, ABBA: the cell's key, and the number of the attempt at it,
    /// from 1.
    pub fn order(&self) -> impl Iterator<Item = (&Key, u32)> {
        (0..self.pairs)
            .flat_map(move |pair| sides(pair).map(|side| (self.key(side), self.attempt(side, pair))))
    }

    /// Returns the key of the cell of a kernel.
    pub fn key(&self, side: Side) -> &Key {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    /// Returns the number of the attempt that is the boot of a pair, which counts from 0. Attempts
    /// count from 1.
    pub(super) fn attempt(&self, side: Side, pair: u32) -> u32 {
        match self.is_control() {
            true => 2 * pair + if sides(pair)[0] == side { 1 } else { 2 },
            false => pair + 1,
        }
    }

    /// Returns the reason why a log cannot have this plan with these cells.
    pub(crate) fn trouble(&self, cells: &[PlannedCell]) -> Option<String> {
        if !(FEWEST_PAIRS..=MOST_PAIRS).contains(&self.pairs) {
            return Some(format!("{} pairs; {FEWEST_PAIRS} to {MOST_PAIRS} are possible", self.pairs));
        }
        let is_planned = |key: &Key| cells.iter().any(|cell| cell.key == *key);
        let is_compared = |cell: &PlannedCell| [&self.first, &self.second].contains(&&cell.key);
        let strange = cells.iter().find(|cell| !is_compared(cell)).map(|cell| &cell.key);
        let absent = [&self.first, &self.second].into_iter().find(|key| !is_planned(key));
        strange.or(absent).map(|key| format!("the cell `{key}` is not in both of comparison and plan"))
    }
}

/// The kernels of a pair, in the order of their boots.
fn sides(pair: u32) -> [Side; 2] {
    if pair.is_multiple_of(2) { [Side::First, Side::Second] } else { [Side::Second, Side::First] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(first: &str, second: &str) -> Compare {
        Compare { first: first.parse().unwrap(), second: second.parse().unwrap(), pairs: 3 }
    }

    fn order(compare: &Compare) -> Vec<String> {
        compare.order().map(|(key, attempt)| format!("{}{attempt}", key.kernel())).collect()
    }

    #[test]
    fn boots_come_in_the_order_abba() {
        let two = compare("x@a", "x@b");
        assert_eq!(order(&two), ["a1", "b1", "b2", "a2", "a3", "b3"]);
        assert_eq!((two.boots(), two.all_boots()), (3, 6));
        let one = compare("x@a", "x@a");
        assert_eq!(order(&one), ["a1", "a2", "a3", "a4", "a5", "a6"]);
        assert_eq!((one.boots(), one.all_boots()), (6, 6));
        let first: Vec<_> = (0..3).map(|pair| one.attempt(Side::First, pair)).collect();
        let second: Vec<_> = (0..3).map(|pair| one.attempt(Side::Second, pair)).collect();
        assert_eq!((first, second), (vec![1, 4, 5], vec![2, 3, 6]), "ABBA of one kernel");
    }
}
