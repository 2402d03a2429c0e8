//! Tables as one JSON document. Its schema, `docs/tables.schema.json`, is made from these types.

use s2lab_model::{
    escape,
    lines::{Word, effective_name},
    tables::{
        Comparison, LookComparison, LookTables, Mapped, MappingMove, Move, Row, Stage1Range, Stage1Table,
        Stage2Table,
    },
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;

/// Version of this form: it rises when a key goes or changes its meaning. New keys may come.
const VERSION: u32 = 1;

/// The tables of one cell, or of two and what differs between them. Addresses are hexadecimal.
#[derive(Serialize, JsonSchema)]
struct Document {
    /// Version of this form.
    version: u32,
    /// The cells; with two the old one is first.
    cells: Vec<Cell>,
    /// The differences; null for one cell.
    comparison: Option<Compared>,
}

/// A cell of a run, with the looks that were asked for.
#[derive(Serialize, JsonSchema)]
struct Cell {
    key: String,
    /// The run's folder or file.
    run: String,
    looks: Vec<Look>,
}

/// The tables of a guest at one moment.
#[derive(Serialize, JsonSchema)]
struct Look {
    look: String,
    guest: String,
    /// What could not be read, and is missing below.
    missing: Vec<String>,
    /// Null: the log has no registers that lead to tables.
    stage2: Option<Stage2>,
    mappings: Vec<Mapping>,
}

#[derive(Serialize, JsonSchema)]
struct Stage2 {
    /// Bytes of a page and of a table.
    granule: u64,
    ipa_bits: u32,
    start_level: i8,
    vmid: u16,
    /// The physical address of the start table.
    table: String,
    /// What changes the meaning of the tables, and what a correct hypervisor does not write.
    remarks: Vec<String>,
    /// All ranges, ascending by IPA. The leaves of one are neighbours in the host too.
    ranges: Vec<Range>,
}

/// Leaves that are alike.
#[derive(Serialize, JsonSchema)]
struct Range {
    /// The first IPA.
    from: String,
    /// The IPA after the last one.
    to: String,
    /// The address of the first byte in the host; null: the leaves are not neighbours there.
    pa: Option<String>,
    level: i8,
    /// Bytes of each leaf.
    leaf: u64,
    /// The first descriptor.
    descriptor: String,
    /// MemAttr in words.
    stage2: String,
    read: bool,
    write: bool,
    /// exec, exec-el0, exec-el1 or never-exec.
    exec: String,
    /// The access flag.
    af: bool,
    /// non, outer, inner or reserved; null with FEAT_LPA2's descriptors.
    shareability: Option<String>,
    contiguous: bool,
    dbm: bool,
    /// Bits 58:55 of the descriptor.
    software: u8,
    /// A device by the scenario's name, `ram` or `unknown region`.
    region: String,
    /// The BAR, if it is not the scenario's.
    bar: Option<u8>,
    /// The first byte in the BAR.
    offset: Option<String>,
}

/// Stage 1 of a BAR that the guest's user space has mapped.
#[derive(Serialize, JsonSchema)]
struct Mapping {
    device: String,
    /// wc or device.
    map: &'static str,
    bar: u8,
    /// The IPA of the BAR.
    ipa: String,
    ranges: Vec<VirtualRange>,
}

#[derive(Serialize, JsonSchema)]
struct VirtualRange {
    /// The first virtual address.
    from: String,
    /// The virtual address after the last one.
    to: String,
    /// mapped, not-mapped or not-readable.
    state: &'static str,
    level: Option<i8>,
    /// The first descriptor.
    descriptor: Option<String>,
    /// The type of stage 1.
    stage1: Option<String>,
    /// The IPA of the first byte.
    ipa: Option<String>,
    /// The type of both stages together; null: left open by the architecture, or not the BAR.
    effective: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct Compared {
    /// All was compared, and nothing differs but RAM, which varies from run to run.
    same: bool,
    looks: Vec<ComparedLook>,
    only_old: Vec<Name>,
    only_new: Vec<Name>,
}

#[derive(Serialize, JsonSchema)]
struct Name {
    look: String,
    guest: String,
}

#[derive(Serialize, JsonSchema)]
struct ComparedLook {
    look: String,
    guest: String,
    /// False: parts of a side could not be read.
    whole: bool,
    /// The ranges that differ, without those of RAM.
    moves: Vec<Moved>,
    /// The ranges of RAM that differ.
    ram: Vec<Moved>,
    mappings: Vec<MovedMapping>,
}

/// A range; null: not mapped.
#[derive(Serialize, JsonSchema)]
struct Moved {
    old: Option<Range>,
    new: Option<Range>,
}

/// The types of a mapping, in words; none: not mapped.
#[derive(Serialize, JsonSchema)]
struct MovedMapping {
    device: String,
    map: &'static str,
    old: Vec<String>,
    new: Vec<String>,
}

/// A cell whose tables are printed.
pub struct CellTables<'a> {
    pub key: &'a str,
    pub run: String,
    pub looks: &'a [LookTables],
}

/// Returns the document, with a line feed at its end.
pub fn document(cells: &[CellTables<'_>], comparison: Option<&Comparison>) -> String {
    let cell = |cell: &CellTables<'_>| Cell {
        key: cell.key.to_owned(),
        run: cell.run.clone(),
        looks: cell.looks.iter().map(look).collect(),
    };
    let cells = cells.iter().map(cell).collect();
    let document = Document { version: VERSION, cells, comparison: comparison.map(compared) };
    escape::json(&format!("{:#}", serde_json::json!(document))) + "\n"
}

/// Returns the JSON schema (draft 7) of the document.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document>();
    format!("{:#}\n", schema.to_value())
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

fn look(of: &LookTables) -> Look {
    Look {
        look: of.look.to_string(),
        guest: of.guest.to_string(),
        missing: of.missing.clone(),
        stage2: of.stage2.as_ref().map(stage2),
        mappings: of.mappings.iter().map(mapping).collect(),
    }
}

fn stage2(of: &Stage2Table) -> Stage2 {
    Stage2 {
        granule: of.granule.0,
        ipa_bits: of.ipa_bits,
        start_level: of.start_level,
        vmid: of.vmid,
        table: hex(of.base),
        remarks: of.remarks.iter().map(ToString::to_string).collect(),
        ranges: of.rows(true).iter().map(range).collect(),
    }
}

fn range(row: &Row) -> Range {
    let Row { ipa, leaf, area, place, pa } = row;
    Range {
        from: hex(ipa.0),
        to: hex(ipa.1),
        pa: pa.map(hex),
        level: leaf.level,
        leaf: leaf.size,
        descriptor: hex(leaf.descriptor),
        stage2: leaf.attr.to_string(),
        read: leaf.read,
        write: leaf.write,
        exec: leaf.exec.to_string(),
        af: leaf.af,
        shareability: leaf.sh.map(|sh| sh.to_string()),
        contiguous: leaf.contiguous,
        dbm: leaf.dbm,
        software: leaf.software,
        region: area.to_string(),
        bar: place.as_ref().and_then(|place| place.bar),
        offset: place.as_ref().map(|place| hex(place.bytes.0)),
    }
}

fn mapping(of: &Stage1Table) -> Mapping {
    Mapping {
        device: of.device.to_string(),
        map: of.map.name(),
        bar: of.bar.index,
        ipa: hex(of.bar.start),
        ranges: of.ranges.iter().map(virtual_range).collect(),
    }
}

fn virtual_range(of: &Stage1Range) -> VirtualRange {
    let empty = |state| VirtualRange {
        from: hex(of.va.0),
        to: hex(of.va.1),
        state,
        level: None,
        descriptor: None,
        stage1: None,
        ipa: None,
        effective: None,
    };
    match &of.mapped {
        Mapped::Not => empty("not-mapped"),
        Mapped::Unreadable => empty("not-readable"),
        Mapped::To { leaf, ipa, effective, .. } => VirtualRange {
            level: leaf.level,
            descriptor: leaf.descriptor.map(hex),
            stage1: Some(leaf.attr.to_string()),
            ipa: Some(hex(*ipa)),
            effective: effective.map(|effective| effective_name(Some(effective))),
            ..empty("mapped")
        },
    }
}

fn compared(of: &Comparison) -> Compared {
    let name = |(look, guest): &(Word, Word)| Name { look: look.to_string(), guest: guest.to_string() };
    Compared {
        same: of.is_same(),
        looks: of.looks.iter().map(compared_look).collect(),
        only_old: of.only_old.iter().map(name).collect(),
        only_new: of.only_new.iter().map(name).collect(),
    }
}

fn compared_look(of: &LookComparison) -> ComparedLook {
    let moved = |of: &Move| Moved { old: of.old.as_ref().map(range), new: of.new.as_ref().map(range) };
    let mapping = |of: &MappingMove| MovedMapping {
        device: of.device.to_string(),
        map: of.map.name(),
        old: of.old.iter().cloned().collect(),
        new: of.new.iter().cloned().collect(),
    };
    ComparedLook {
        look: of.look.to_string(),
        guest: of.guest.to_string(),
        whole: of.whole,
        moves: of.moves.iter().map(moved).collect(),
        ram: of.ram.iter().map(moved).collect(),
        mappings: of.mappings.iter().map(mapping).collect(),
    }
}
