//! The order in which a shuffled run carries out its cells.

use crate::event::PlannedCell;
use crate::hash::digest;

/// Returns the cells in the order of a seed. Two cells have the same order in every run with that
/// seed, whatever other cells it has.
pub fn shuffled(mut cells: Vec<PlannedCell>, seed: u32) -> Vec<PlannedCell> {
    cells.sort_by_cached_key(|cell| digest(format!("{seed} {}", cell.key).as_bytes()));
    cells
}
