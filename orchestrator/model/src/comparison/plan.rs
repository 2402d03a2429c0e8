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
    /// The cell of the other kernel. If that is the same one, the key is [`Key::second`] of the first.
    pub second: Key,
    /// The number of pairs of boots, from [`FEWEST_PAIRS`] to [`MOST_PAIRS`].
    pub pairs: u32,
}

impl Compare {
    /// Returns true if a kernel is compared with itself.
    pub fn is_control(&self) -> bool {
        self.first.kernel() == self.second.kernel()
    }

    /// Returns the number of all boots.
    pub fn all_boots(&self) -> u32 {
        self.pairs.saturating_mul(2)
    }

    /// Returns the cells of a pair, which counts from 0, in the order of their boots: ABBA.
    pub fn keys(&self, pair: u32) -> [&Key; 2] {
        match pair.is_multiple_of(2) {
            true => [&self.first, &self.second],
            false => [&self.second, &self.first],
        }
    }

    /// Returns the reason why a log cannot have this plan with these cells.
    pub(crate) fn trouble(&self, cells: &[PlannedCell]) -> Option<String> {
        if !(FEWEST_PAIRS..=MOST_PAIRS).contains(&self.pairs) {
            return Some(format!("{} pairs; {FEWEST_PAIRS} to {MOST_PAIRS} are possible", self.pairs));
        }
        if self.first == self.second {
            return Some(format!("the cell `{}` is compared with itself", self.first));
        }
        let is_planned = |key: &Key| cells.iter().any(|cell| cell.key == *key);
        let is_compared = |cell: &PlannedCell| [&self.first, &self.second].contains(&&cell.key);
        let strange = cells.iter().find(|cell| !is_compared(cell)).map(|cell| &cell.key);
        let absent = [&self.first, &self.second].into_iter().find(|key| !is_planned(key));
        strange.or(absent).map(|key| format!("the cell `{key}` is not in both of comparison and plan"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_come_in_the_order_abba() {
        let [first, second] = ["x@a", "x@b"].map(|key| key.parse().unwrap());
        let compare = Compare { first, second, pairs: 7 };
        let order: String = (0..3).flat_map(|pair| compare.keys(pair)).map(Key::kernel).collect();
        assert_eq!(order, "abbaab");
        assert_eq!(compare.all_boots(), 14);
    }

    #[test]
    fn the_second_cell_of_a_kernel_has_a_key_of_its_own() {
        let first: Key = "x@a+qemu=newest".parse().unwrap();
        let second = first.second().unwrap();
        assert_eq!(second, "x@a+compare=second+qemu=newest");
        assert_eq!(
            second.second().unwrap_err().to_string().split(": ").nth(1),
            Some("axes are sorted by name, and each is there once")
        );
        assert!(Compare { first, second, pairs: 7 }.is_control());
    }
}
