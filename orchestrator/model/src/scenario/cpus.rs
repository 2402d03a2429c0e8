//! The CPU models of hosts, and what their ID registers say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A CPU model that QEMU 10.0.2 has and on which KVM was seen to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuModel {
    pub name: &'static str,
    /// The sizes of pages that it translates, in bytes: ID_AA64MMFR0_EL1, TGran4, TGran16, TGran64
    /// (Arm ARM D24.2.81), as QEMU 10.0.2's gdbstub shows the register of each model.
    pub pages: &'static [u64],
}

const K: u64 = 1 << 10;
const ALL: &[u64] = &[4 * K, 16 * K, 64 * K];
const WITHOUT_16K: &[u64] = &[4 * K, 64 * K];

const fn cpu(name: &'static str, pages: &'static [u64]) -> CpuModel {
    CpuModel { name, pages }
}

/// FEAT_S2FWB: max, neoverse-v1, neoverse-n2, cortex-a710. The last four lack VHE.
pub const CPU_MODELS: [CpuModel; 12] = [
    cpu("max", ALL),
    cpu("neoverse-v1", ALL),
    cpu("neoverse-n2", ALL),
    cpu("neoverse-n1", ALL),
    cpu("cortex-a710", ALL),
    cpu("cortex-a76", ALL),
    cpu("cortex-a55", ALL),
    cpu("a64fx", WITHOUT_16K),
    cpu("cortex-a72", WITHOUT_16K),
    cpu("cortex-a57", WITHOUT_16K),
    cpu("cortex-a53", WITHOUT_16K),
    cpu("cortex-a35", ALL),
];

impl CpuModel {
    /// Returns the model with a name.
    pub fn named(name: &str) -> Option<&'static CpuModel> {
        CPU_MODELS.iter().find(|model| model.name == name)
    }
}

/// The names, for the schema.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    let names = CPU_MODELS.map(|model| model.name);
    json_schema!({"type": "string", "enum": names})
}
