//! The planned cells of the benchmarks.

use s2lab_model::{cell::ResolvedCell, event::PlannedCell, kernel::Traits, scenario::load};

/// Returns that many cells: one scenario on as many kernels.
pub(crate) fn cells(count: usize) -> Vec<PlannedCell> {
    let scenario = load("vfio-pci-bar.yaml", include_str!("../../../scenarios/vfio-pci-bar.yaml")).unwrap();
    let cell = |n: usize| PlannedCell {
        key: format!("vfio-pci-bar@k{n}").parse().unwrap(),
        kernel: format!("k{n}"),
        about: scenario.about.clone(),
        repeat: vec![],
        resolved: ResolvedCell::of(&scenario, Traits::Exactly([].into())),
    };
    (0..count).map(cell).collect()
}
