//! A kernel's way to a host, in three stages: named in a plan, resolved to a request to the cache,
//! ready as files.

pub mod given;
pub mod guests;
pub mod identity;
pub mod memory_module;
pub mod named;
pub mod needs;
pub mod ready;
pub mod resolved;
pub mod selftests;

use s2lab_model::event::PlannedCell;

/// The hint to a cell whose kernel has no tree here.
const BUILT_HERE: &str = "take a kernel that s2lab builds, like linux-6.12 or --kernel tree:DIR@COMMIT";

/// Yields the cells of a kernel that are not excluded.
fn cells_of<'a>(cells: &'a [PlannedCell], kernel: &str) -> impl Iterator<Item = &'a PlannedCell> {
    cells.iter().filter(move |cell| cell.kernel == kernel && cell.resolved.excluded.is_none())
}
