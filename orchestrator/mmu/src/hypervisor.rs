//! Stage 1 of a hypervisor that has EL2 for itself: the tables at TTBR0_EL2.

use crate::geometry::Geometry;
use crate::{Anomaly, GeometryError, Granule, Limits, PhysMem, Stage2};

/// HCR_EL2.E2H (DDI 0487, HCR_EL2). With it, TCR_EL2 has the layout of TCR_EL1.
const HCR_E2H: u64 = 1 << 34;

/// Bits of TCR_EL2 (DDI 0487, TCR_EL2). In pairs the one without HCR_EL2.E2H comes first.
mod tcr {
    pub(super) const TG0_SHIFT: u32 = 14;
    pub(super) const PS_SHIFT: [u32; 2] = [16, 32];
    pub(super) const DS: [u64; 2] = [1 << 32, 1 << 59];
}

/// AP\[2\] of a leaf: it is read-only.
const READ_ONLY: u64 = 1 << 7;

/// The tables of a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hypervisor {
    /// A walk does not depend on the stage.
    tables: Stage2,
}

/// The block or page that a hypervisor maps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HypervisorLeaf {
    /// The first address of the block or page.
    pub va: u64,
    pub pa: u64,
    /// The size in bytes.
    pub size: u64,
    /// It may be written: AP\[2\] is clear.
    pub write: bool,
    /// Bits 58:55, which the MMU ignores: the hypervisor is free to use them.
    pub software: u8,
}

impl Hypervisor {
    /// Decodes TTBR0_EL2, TCR_EL2 and HCR_EL2.
    ///
    /// Fails if the registers describe no tables that the architecture defines.
    pub fn new(ttbr0: u64, tcr: u64, hcr: u64) -> Result<Self, GeometryError> {
        let e2h = usize::from(hcr & HCR_E2H != 0);
        let granule = Granule::from_tg0(tcr >> tcr::TG0_SHIFT)?;
        let (ds, ps) = (tcr & tcr::DS[e2h] != 0, tcr >> tcr::PS_SHIFT[e2h]);
        let geometry = Geometry::of_stage1(granule, tcr, ds, ps, ttbr0)?;
        Ok(Self { tables: Stage2::of_tables(geometry, ttbr0) })
    }

    pub fn granule(&self) -> Granule {
        self.tables.granule()
    }

    /// Returns every leaf within `limits`, in ascending order of VA.
    ///
    /// Fails with the first thing that a correct hypervisor does not write.
    pub fn leaves(&self, mem: &dyn PhysMem, limits: Limits) -> Result<Vec<HypervisorLeaf>, Anomaly> {
        let walk = self.tables.walk_within(mem, limits);
        if let Some(anomaly) = walk.anomalies.first() {
            return Err(*anomaly);
        }
        let leaf = |leaf: &crate::Stage2Leaf| HypervisorLeaf {
            va: leaf.ipa,
            pa: leaf.pa,
            size: leaf.size,
            write: leaf.descriptor & READ_ONLY == 0,
            software: leaf.software,
        };
        Ok(walk.leaves.iter().map(leaf).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Words by their addresses. Others of the tables are zero.
    struct Words(BTreeMap<u64, u64>);

    impl PhysMem for Words {
        fn read_u64(&self, pa: u64) -> Option<u64> {
            (0x1000..0x5000).contains(&pa).then(|| self.0.get(&pa).copied().unwrap_or_default())
        }
    }

    /// Tables of four levels: a page that may be written, and one that may not and has a state.
    fn words() -> Words {
        let entries = [
            (0x1000 + 8, 0x2003),
            (0x2000, 0x3003),
            (0x3000 + 16, 0x4003),
            (0x4000 + 8, 0x8000_0703),
            (0x4000 + 16, 1 << 56 | 0x9_0000_0783),
        ];
        Words(entries.into())
    }

    #[test]
    fn leaves_are_those_of_both_layouts_of_tcr_el2() {
        let va = (1 << 39) + (2 << 21);
        let page = |n: u64, pa, write, software| HypervisorLeaf {
            va: va + n * 0x1000,
            pa,
            size: 0x1000,
            write,
            software,
        };
        let due = [page(1, 0x8000_0000, true, 0), page(2, 0x9_0000_0000, false, 2)];
        for (tcr, hcr) in [(16 | 5 << 16, 1), (16 | 5 << 32, 1 | HCR_E2H)] {
            let hypervisor = Hypervisor::new(0x1000, tcr, hcr).unwrap();
            assert_eq!(hypervisor.granule(), Granule::K4);
            assert_eq!(hypervisor.leaves(&words(), Limits::default()).unwrap(), due, "{tcr:#x}");
        }
        // Without the right layout the addresses have 32 bits.
        let narrow = Hypervisor::new(0x1000, 16 | 5 << 16, 1 | HCR_E2H).unwrap();
        assert!(narrow.leaves(&words(), Limits::default()).is_err());
    }

    #[test]
    fn tables_that_are_not_read_whole_are_an_error() {
        let hypervisor = Hypervisor::new(0x1000, 16 | 5 << 16, 1).unwrap();
        let leaves = |limits| hypervisor.leaves(&words(), limits);
        assert!(leaves(Limits { leaves: 1, ..Limits::default() }).is_err());
        assert!(leaves(Limits { tables: 2, ..Limits::default() }).is_err());
        let nowhere = Hypervisor::new(0x6000, 16 | 5 << 16, 1).unwrap();
        assert!(nowhere.leaves(&words(), Limits::default()).is_err());
        assert!(Hypervisor::new(0x1000, 63, 1).is_err());
    }
}
