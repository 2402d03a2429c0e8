//! The JSON schema of scenarios, made from their types, for editors and for the loader.

use super::{MemoryType, Scenario, Stage2Type};
use crate::json_schema::schema_of;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Returns the JSON schema (draft 7) of scenario files, as committed in `scenarios/schema.json`.
pub fn schema() -> String {
    format!("{:#}\n", value())
}

/// Returns the same schema as a value.
pub(super) fn value() -> Value {
    schema_of::<Scenario>()
}

/// `propertyNames` of maps from names.
pub(super) fn names() -> Value {
    json!({"type": "string", "format": "name", "pattern": s2lab_protocol::NAME_PATTERN})
}

/// [`s2lab_protocol::MapKind`]; the agents' crate has no schemas.
pub(crate) fn map_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "wc", "description": "Through `resourceN_wc`: Normal-NC at the guest's stage 1."},
        {"const": "device", "description": "Through `resourceN`: Device-nGnRE at the guest's stage 1."},
    ]})
}

/// [`s2lab_protocol::By`].
pub(crate) fn by(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "str", "description": "STR of a general register: width 1, 2, 4 or 8."},
        {"const": "stp", "description": "STP of two X registers: width 16; four of them: width 64."},
        {"const": "q", "description": "STR of a Q register: width 16."},
        {"const": "st4", "description": "ST4 of four vectors, as rdma-core: width 64."},
        {"const": "dgh", "description": "Eight STR and DGH, as Linux's `__iowrite64_copy`: width 64."},
    ]})
}

/// [`s2lab_protocol::Order`].
pub(crate) fn order(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "sequential", "description": "By ascending address, if left out."},
        {"const": "strided", "description": "Each eighth chunk, eight times."},
        {"const": "random", "description": "By a seed: each run has the same order."},
    ]})
}

/// [`s2lab_protocol::Barrier`].
pub(crate) fn barrier(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "none", "description": "No barrier, if left out."},
        {"const": "dmb", "description": "DMB OSHST after stores, DMB OSHLD after loads."},
        {"const": "dsb", "description": "DSB ST after stores, DSB LD after loads."},
    ]})
}

/// [`s2lab_protocol::ProbeKind`].
pub(crate) fn probe_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "store", "description": "A store of 8 bytes to an odd address, if left out."},
        {"const": "load", "description": "A load of 8 bytes from an odd address."},
        {"const": "zva", "description": "DC ZVA."},
        {"const": "atomic", "description": "LDADD (FEAT_LSE)."},
        {"const": "exclusive", "description": "LDXR and STXR."},
        {"const": "fetch", "description": "An instruction fetch."},
    ]})
}

/// Names of sets.
pub(super) fn sets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "items": {"type": "string", "format": "set", "pattern": s2lab_protocol::NAME_PATTERN},
        "minItems": 1, "maxItems": 8, "uniqueItems": true,
    })
}

/// Options of a kernel, each with a reason.
pub(super) fn needs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {"type": "string", "format": "option", "pattern": "^[A-Z0-9_]+$"},
        "additionalProperties": {"type": "string", "format": "line"},
        "minProperties": 1,
        "maxProperties": super::needs::MAX_COUNT,
    })
}

/// [`s2lab_protocol::MemslotOperation`].
pub(crate) fn memslot_operation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "remove", "description": "The memslot is removed."},
        {"const": "add", "description": "A removed memslot is added again, as it was first."},
        {"const": "move", "description": "The memslot moves to another IPA, and back."},
        {"const": "read-only", "description": "The memslot is removed, and added read-only."},
        {"const": "log", "description": "Dirty pages are logged. KVM must refuse it for a BAR."},
        {"const": "unlog", "description": "Dirty pages are no longer logged."},
        {"const": "remap", "description": "The VMM moves its mapping by mremap, and the memslot with it."},
        {"const": "replace", "description": "The VMM maps the BAR of `with` over that of the memslot, which stays."},
        {"const": "fork", "description": "The VMM forks, and pages of RAM are copied when they are written to. Only of `ram`."},
        {"const": "protect", "description": "The VMM takes its own permission to write to the BAR, by mprotect."},
        {"const": "renew", "description": "The VMM maps the second quarter of the BAR once more. The memslot stays as it is."},
        {"const": "compact", "description": "The host compacts its memory, and pages of RAM get other frames. Only of `ram`."},
        {"const": "divide", "description": "The VMM maps the second quarter of the BAR once more, and adds two memslots: three VMAs."},
    ]})
}

/// One or two of [`s2lab_protocol::RamKind`].
pub(super) fn ram(_: &mut SchemaGenerator) -> Schema {
    let kind = json!({"oneOf": [
        {"const": "anonymous", "description": "Anonymous memory, with huge pages as the host has them, if left out."},
        {"const": "memfd", "description": "A file of memfd_create."},
        {"const": "hugetlb", "description": "Pages of 2M from hugetlbfs."},
        {"const": "hugetlb-64k", "description": "Pages of 64K from hugetlbfs. The host's kernel has pages of 4K."},
        {"const": "thp", "description": "Anonymous memory with MADV_HUGEPAGE."},
        {"const": "no-thp", "description": "Anonymous memory with MADV_NOHUGEPAGE."},
        {"const": "thp-askew", "description": "As thp, at an address that differs from the IPA within 2M."},
        {"const": "module", "description": "Pages in a VMA of s2lab's own kernel module: that of `vmas`."},
    ]});
    json_schema!({"anyOf": [kind, {"type": "array", "items": kind, "minItems": 1, "maxItems": 2, "uniqueItems": true}]})
}

/// [`s2lab_protocol::ModuleVma`] by regions.
pub(super) fn vmas(_: &mut SchemaGenerator) -> Schema {
    let kind = json!({"description": "What the VMA is made of.", "oneOf": [
        {"const": "pfnmap", "description": "VM_PFNMAP: page frames alone, if left out."},
        {"const": "mixedmap", "description": "VM_MIXEDMAP: page frames, and pages with a struct page."},
    ]});
    let pgprot = json!({"description": "The memory type of the VMA for the VMM.", "oneOf": [
        {"const": "write-back", "description": "Normal-WB at stage 1 of the VMM."},
        {"const": "write-combine", "description": "Normal-NC: pgprot_writecombine."},
        {"const": "device", "description": "Device-nGnRE: pgprot_device."},
        {"const": "noncached", "description": "Device-nGnRnE: pgprot_noncached."},
    ]});
    let is = |description: &str| json!({"type": "boolean", "description": description});
    let vma = json!({
        "type": "object",
        "properties": {
            "kind": kind,
            "pgprot": pgprot,
            "marked": is("It has the flag VM_ALLOW_ANY_UNCACHED; false if left out."),
            "private": is("The mapping is private, for copy-on-write; false if left out. Only for devices."),
        },
        "required": ["pgprot"],
        "additionalProperties": false,
    });
    json_schema!({"type": "object", "additionalProperties": vma, "minProperties": 1})
}

/// [`s2lab_protocol::HypervisorType`].
pub(super) fn hypervisor(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "Device-nGnRE", "description": "MemAttr 0b0001."},
        {"const": "Normal-NC", "description": "MemAttr 0b0101."},
        {"const": "Normal-WB", "description": "MemAttr 0b1111: it leaves the type to the stage 1 of its guest."},
    ]})
}

/// Two regions.
pub(super) fn join(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2, "uniqueItems": true})
}

/// A number of vCPUs.
pub(crate) fn vcpus(_: &mut SchemaGenerator) -> Schema {
    let numbers: Vec<u32> = (1..=s2lab_protocol::MOST_VCPUS).collect();
    json_schema!({"type": "integer", "enum": numbers})
}

/// A seed.
pub(crate) fn seed(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "seed", "minimum": 0, "maximum": u32::MAX})
}

/// Names of memory types, or the word for no leaf.
pub(super) fn stage2_type(_: &mut SchemaGenerator) -> Schema {
    let names = MemoryType::ALL.iter().map(|t| json!(t));
    let names: Vec<Value> = names.chain([json!(Stage2Type::Nothing)]).collect();
    json_schema!({"type": "string", "enum": names})
}

/// Names of memory types.
pub(super) fn memory_type(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<Value> = MemoryType::ALL.iter().map(|t| json!(t)).collect();
    json_schema!({"type": "string", "enum": names})
}

/// Widths of accesses.
pub(crate) fn widths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "integer", "enum": s2lab_protocol::WIDTHS},
        "minItems": 1,
        "uniqueItems": true,
    })
}

/// Words for a kernel's command line.
pub(super) fn arguments(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": super::arguments::MAX_LENGTH},
        "maxItems": super::arguments::MAX_COUNT,
    })
}

/// The path of a program.
pub(crate) fn program_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "program", "maxLength": super::programs::LONGEST})
}

/// The arguments of a program.
pub(crate) fn program_arguments(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "format": "argument", "maxLength": super::programs::LONGEST},
        "maxItems": super::programs::MAX_ARGUMENTS,
    })
}

/// The tests of a suite.
pub(crate) fn selftests(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "format": "selftest", "maxLength": super::programs::LONGEST},
        "minItems": 1,
        "maxItems": super::programs::MAX_SELFTESTS,
        "uniqueItems": true,
    })
}

/// One `T`, or a list of them.
pub(super) fn one_or_many<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<T>();
    json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": true}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::{
        Barrier, By, HypervisorType, MapKind, MemslotOperation, Order, Pgprot, ProbeKind, RamKind, VmaKind,
    };
    use serde::de::DeserializeOwned;

    /// The words of the schema are written by hand, because the agents' crate has no schemas.
    #[test]
    fn words_are_those_of_the_agents() {
        fn words<T: DeserializeOwned>(step: &str, key: &str) -> Vec<T> {
            let schema = value();
            let words = schema["definitions"][step]["properties"][key]["oneOf"].as_array().unwrap();
            words.iter().map(|word| serde_json::from_value(word["const"].clone()).unwrap()).collect()
        }
        assert_eq!(words::<MapKind>("StoreStep", "map"), MapKind::ALL);
        assert_eq!(words::<By>("StoreStep", "by"), By::ALL);
        assert_eq!(words::<Order>("LoadStep", "order"), Order::ALL);
        assert_eq!(words::<Barrier>("LoadStep", "barrier"), Barrier::ALL);
        assert_eq!(words::<ProbeKind>("ProbeStep", "do"), ProbeKind::ALL);
        assert_eq!(words::<HypervisorType>("Guest", "hypervisor"), HypervisorType::ALL);
        assert_eq!(words::<MemslotOperation>("MemslotStep", "do"), MemslotOperation::ALL);
        let ram = &value()["definitions"]["Guest"]["properties"]["ram"]["anyOf"][0]["oneOf"];
        let words = ram.as_array().unwrap().iter().map(|word| word["const"].clone());
        assert!(words.eq(RamKind::ALL.map(|kind| json!(kind.name()))), "{ram}");
        let vma =
            &value()["definitions"]["Guest"]["properties"]["vmas"]["additionalProperties"]["properties"];
        let words = |key: &str| -> Vec<Value> {
            let words = vma[key]["oneOf"].as_array().unwrap();
            words.iter().map(|word| word["const"].clone()).collect()
        };
        assert_eq!(words("kind"), VmaKind::ALL.map(|kind| json!(kind)));
        assert_eq!(words("pgprot"), Pgprot::ALL.map(|pgprot| json!(pgprot)));
    }
}
