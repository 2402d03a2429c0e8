//! A BAR of a PCI device.

use serde::{Deserialize, Serialize};

/// A memory BAR as sysfs `resource` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    pub index: u8,
    /// Physical address at this level.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    pub prefetchable: bool,
}

impl Bar {
    /// The BAR that a scenario means by a device's name: the largest prefetchable one, of equal ones the first.
    pub fn chosen(bars: impl IntoIterator<Item = Bar>) -> Option<Bar> {
        let prefetchable = bars.into_iter().filter(|bar| bar.prefetchable);
        prefetchable.max_by_key(|bar| (bar.size, std::cmp::Reverse(bar.index)))
    }
}
