//! The features of a CPU that decide which tables it can use (DDI 0487, ID_AA64MMFR0_EL1,
//! ID_AA64MMFR2_EL1).

/// The support of a granule at one stage.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Support {
    No,
    Yes,
    /// With FEAT_LPA2.
    WithLpa2,
}

/// The features of a CPU.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    /// PARange: the field, and the bits of a physical address.
    pub(crate) pa_range: u64,
    pub(crate) pa_bits: u32,
    /// Granules of 4K, 16K and 64K at stage 1 and at stage 2.
    pub(crate) granules: [[Support; 3]; 2],
    /// FEAT_S2FWB.
    pub(crate) fwb: bool,
    /// FEAT_TTST.
    pub(crate) small_tables: bool,
    /// FEAT_LVA.
    pub(crate) large_va: bool,
}

/// log2 of the sizes of granules, by their place in [`Features::granules`].
pub(crate) const PAGE_BITS: [u32; 3] = [12, 14, 16];

/// Returns the bits of PS, IPS or PARange.
pub(crate) fn size_bits(field: u64) -> u32 {
    [32, 36, 40, 42, 44, 48, 52, 52][field as usize & 7]
}

impl Features {
    /// Reads ID_AA64MMFR0_EL1 and ID_AA64MMFR2_EL1.
    pub(crate) fn new(mmfr0: u64, mmfr2: u64) -> Self {
        let field = |word: u64, low: u32| word >> low & 0xf;
        let stage1 = [
            [Support::Yes, Support::WithLpa2].get(field(mmfr0, 28) as usize),
            [Support::No, Support::Yes, Support::WithLpa2].get(field(mmfr0, 20) as usize),
            [Support::Yes].get(field(mmfr0, 24) as usize),
        ]
        .map(|known| known.copied().unwrap_or(Support::No));
        let stage2 = |at: usize, low: u32| match field(mmfr0, low) {
            0 => stage1[at],
            2 => Support::Yes,
            3 => Support::WithLpa2,
            _ => Support::No,
        };
        let pa_range = field(mmfr0, 0).min(6);
        Self {
            pa_range,
            pa_bits: size_bits(pa_range),
            granules: [stage1, [stage2(0, 40), stage2(1, 32), stage2(2, 36)]],
            fwb: field(mmfr2, 40) != 0,
            small_tables: field(mmfr2, 28) != 0,
            large_va: field(mmfr2, 16) != 0,
        }
    }

    /// Returns the fewest bits of an input address (DDI 0487, TCR_EL1.T0SZ).
    pub(crate) fn fewest_bits(&self, page_bits: u32) -> u32 {
        match (self.small_tables, page_bits) {
            (false, _) => 25,
            (true, 16) => 17,
            (true, _) => 16,
        }
    }
}
