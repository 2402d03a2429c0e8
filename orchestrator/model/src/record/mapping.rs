//! The mappings of a guest's user space, through both stages.

use super::look::LookError;
use s2lab_mmu::{
    Fault, MemoryType, PAGE_SIZE, PhysMem, Stage1, Stage1Attr, Stage2, Stage2Attr, Stage2Leaf, combine,
};
use s2lab_protocol::{HypervisorType, MapKind};
use std::cell::RefCell;
use std::collections::HashMap;

/// The most unmapped pages whose addresses are reported.
const MOST_UNMAPPED: usize = 4;

/// A mapping of the guest's user space through both stages, page by page as far as stage 2 maps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMapping {
    pub device: String,
    pub map: MapKind,
    /// The IPA of the BAR's first byte in the guest.
    pub ipa: u64,
    /// The type that the stage 2 of a guest hypervisor gives the BAR.
    pub hypervisor: Option<HypervisorType>,
    /// Each combination that occurs, in order of appearance, and its number of bytes.
    pub touched: Vec<(Combined, u64)>,
    /// The first few pages that stage 2 maps but stage 1 does not, or elsewhere.
    pub unmapped: Vec<String>,
}

/// The types of both stages and their combination. `effective` is None if the architecture leaves
/// it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combined {
    pub stage1: Stage1Attr,
    pub stage2: Stage2Attr,
    pub effective: Option<MemoryType>,
}

impl SeenMapping {
    /// Adds the leaf that maps `va`, which should lead to `ipa`. Returns the number of bytes from
    /// there that are alike.
    pub(super) fn page(
        &mut self,
        leaf: &Stage2Leaf,
        ipa: u64,
        va: u64,
        stage1: &Stage1,
        memory: &dyn PhysMem,
    ) -> Result<u64, LookError> {
        const PAGE: u64 = PAGE_SIZE as u64;
        let found = match stage1.translate(memory, va) {
            Ok(found) => found,
            Err(fault @ (Fault::NoMemory { .. } | Fault::Geometry { .. })) => {
                return Err(LookError::Stage1(fault));
            }
            Err(fault) => {
                self.unmapped(|| fault.to_string());
                return Ok(PAGE - va % PAGE);
            }
        };
        let bytes = found.size.saturating_sub(va.wrapping_sub(found.va) % found.size.max(1)).max(1);
        if found.ipa_of(va) != Some(ipa) {
            self.unmapped(|| format!("leads to IPA {:#x} instead of {ipa:#x}", found.ipa));
            return Ok(bytes);
        }
        let combined =
            Combined { stage1: found.attr, stage2: leaf.attr, effective: combine(found.attr, leaf.attr) };
        let rest = leaf.ipa.saturating_add(leaf.size).saturating_sub(ipa);
        let counted = bytes.min(rest);
        match self.touched.iter_mut().find(|(known, _)| *known == combined) {
            Some((_, sum)) => *sum += counted,
            None => self.touched.push((combined, counted)),
        }
        Ok(counted)
    }

    fn unmapped(&mut self, what: impl FnOnce() -> String) {
        if self.unmapped.len() < MOST_UNMAPPED {
            self.unmapped.push(what());
        }
    }
}

/// A guest's memory by IPA. Reading a mapping page by page reads the same few tables again and
/// again, possibly while the machine is stopped, so their addresses are cached.
pub(super) struct GuestMemory<'a> {
    stage2: &'a Stage2,
    memory: &'a dyn PhysMem,
    /// The physical addresses of 4 KiB pages, by IPA.
    places: RefCell<HashMap<u64, Option<u64>>>,
}

impl<'a> GuestMemory<'a> {
    pub(super) fn new(stage2: &'a Stage2, memory: &'a dyn PhysMem) -> Self {
        Self { stage2, memory, places: RefCell::default() }
    }
}

impl PhysMem for GuestMemory<'_> {
    fn read_u64(&self, ipa: u64) -> Option<u64> {
        let offset = ipa % PAGE_SIZE as u64;
        let place = |page| {
            let leaf = self.stage2.translate(self.memory, page).ok().filter(|leaf| leaf.read)?;
            leaf.pa_of(page)
        };
        let page = ipa - offset;
        let pa = *self.places.borrow_mut().entry(page).or_insert_with(|| place(page));
        self.memory.read_u64(pa?.checked_add(offset)?)
    }
}
