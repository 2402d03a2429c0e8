//! The host's own stage 2 at a look, decoded.
//!
//! In KVM's protected mode the host's kernel runs at EL1 under tables that KVM's code at EL2, the hypervisor, writes
//! (Linux 6.1 and 6.12 arch/arm64/kvm/hyp/nvhe/mem_protect.c). They map each address to itself, as the host touches it.
//! A page of the hypervisor is withheld: its descriptor is invalid and not zero (host_stage2_set_owner_locked). An
//! invalid descriptor that is zero is filled at the host's next access (host_stage2_adjust_range), so such a page is
//! open to the host, as one is that is mapped.
//!
//! The pages of the hypervisor are those of two sources. One is the kernel's log, which has the range that
//! KVM reserves. The other is the hypervisor's own stage 1.

use super::look::{HCR_TGE, LookError, MOST_RAM, Pages, anomalies, memory};
use super::{Record, Surroundings, registers};
use crate::steps::{HostLook, LookStep};
use s2lab_mmu::{Fault, Hypervisor, HypervisorLeaf, Limits, PhysMem, Stage2, Stage2Leaf};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The registers that lead to the host's tables and to the hypervisor's.
pub const REGISTERS: [&str; 5] = ["HCR_EL2", "VTTBR_EL2", "VTCR_EL2", "TTBR0_EL2", "TCR_EL2"];
/// The state of a page in the hypervisor's tables, bits 56:55 of a leaf; 0: the hypervisor owns it
/// (Linux 6.1 and 6.12 arch/arm64/kvm/hyp/include/nvhe/mem_protect.h, enum pkvm_page_state).
const STATE: u8 = 0b11;
/// The most pages of the hypervisor that are looked up: 1 GiB of 4 KiB pages.
const MOST_PAGES: usize = 1 << 18;
/// The most open pages that are kept as evidence.
const MOST_KEPT: usize = 4;

/// A look at the host's own stage 2 with the result of its decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedHostLook {
    pub step: usize,
    pub name: String,
    pub seen: Result<HostTables, LookError>,
}

/// The observations of a look at the host's own stage 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTables {
    /// The leaves in the host's RAM, ascending by IPA.
    pub ram: Vec<Stage2Leaf>,
    /// The leaves anywhere else.
    pub mmio: Vec<Stage2Leaf>,
    /// Everything in the tables that a correct hypervisor does not write.
    pub anomalies: Vec<String>,
    /// The pages in the reserved range, and those that the hypervisor owns in its linear map: its code, its data, the
    /// data of each CPU, tables.
    pub hypervisor: Withheld,
    /// The other pages that the hypervisor owns and writes to. It maps its stacks outside of the linear map.
    pub stacks: Withheld,
    /// The pages in the reserved range that the hypervisor's own stage 1 does not map.
    pub unmapped: Vec<u64>,
}

/// Pages of the hypervisor, and those of them that the host may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld {
    pub pages: usize,
    /// The number of pages that the host may reach.
    pub open: usize,
    /// The first few of them.
    pub first: Vec<Open>,
}

/// A page of the hypervisor that the host may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub pa: u64,
    /// The leaf that maps it. None: it is mapped at the host's next access.
    pub leaf: Option<Stage2Leaf>,
}

/// Decodes every look at the host of an attempt, in the log's order. Unplanned or doubled looks are not decoded.
pub fn decode(record: &Record, pages: &(impl Pages + ?Sized)) -> Vec<DecodedHostLook> {
    let steps = record.planned.resolved.steps.iter().enumerate();
    let of_host = steps.filter(|(_, step)| step.of::<LookStep>().is_some_and(|look| look.of.is_some()));
    let mut asked_for: BTreeSet<usize> = of_host.map(|(at, _)| at).collect();
    record
        .all::<HostLook>()
        .map(|look| {
            let seen = match asked_for.remove(&look.step) {
                true => memory(&look.pages, pages)
                    .and_then(|memory| HostTables::through(&look.registers, &record.session.around, &memory)),
                false => Err(LookError::Unplanned),
            };
            DecodedHostLook { step: look.step, name: look.name.clone(), seen }
        })
        .collect()
}

impl HostTables {
    /// Returns the observations of a look with these registers in `memory`, the host's.
    pub fn through(
        registers: &BTreeMap<String, u64>,
        around: &Surroundings,
        memory: &dyn PhysMem,
    ) -> Result<HostTables, LookError> {
        let register = |name| registers::register(registers, name);
        let (hcr, vttbr) = (register("HCR_EL2")?, register("VTTBR_EL2")?);
        let stage2 = registers::stage2(registers)?;
        if hcr & HCR_TGE != 0 || stage2.vmid() != 0 {
            return Err(LookError::NoHost { hcr, vttbr });
        }
        match around.ram.len() {
            0 => return Err(LookError::Region("its RAM".into())),
            found if found > MOST_RAM => {
                return Err(LookError::TooMany { what: "ranges of RAM", found, most: MOST_RAM });
            }
            _ => {}
        }
        let reserved = around.memory.as_ref().and_then(|memory| memory.hypervisor);
        let reserved = reserved.ok_or_else(|| LookError::Region("the hypervisor's memory".into()))?;

        let walk = stage2.walk_within(memory, Limits::default());
        let anomalies = anomalies(&walk, around)?;
        let in_ram = |start: u64, size: u64| {
            around.ram.iter().any(|ram| ram.start <= start && start.saturating_add(size) <= ram.end)
        };
        let (ram, mmio) = walk.leaves.into_iter().partition(|leaf| in_ram(leaf.pa, leaf.size));

        let of_hypervisor = Hypervisor::new(register("TTBR0_EL2")?, register("TCR_EL2")?, hcr);
        let of_hypervisor = of_hypervisor.map_err(|why| LookError::Hypervisor(why.to_string()))?;
        let granule = of_hypervisor.granule().size();
        let leaves = of_hypervisor.leaves(memory, Limits::default());
        let mut leaves = leaves.map_err(|why| LookError::Hypervisor(why.to_string()))?;
        leaves.retain(|leaf| in_ram(leaf.pa, leaf.size));
        let mut budget = MOST_PAGES;
        let reserved = pages(reserved.start, reserved.size, granule, &mut budget)?;
        let Own { mut linear, mut elsewhere, mapped } = Own::of(&leaves, granule, &mut budget)?;
        let unmapped = reserved.difference(&mapped).copied().collect();
        linear.extend(reserved);
        elsewhere.retain(|page| !linear.contains(page));
        Ok(HostTables {
            ram,
            mmio,
            anomalies,
            hypervisor: Withheld::of(&linear, &stage2, memory),
            stacks: Withheld::of(&elsewhere, &stage2, memory),
            unmapped,
        })
    }

    /// Yields the leaves that do not lead to their own address.
    pub(crate) fn moved(&self) -> impl Iterator<Item = &Stage2Leaf> {
        self.ram.iter().chain(&self.mmio).filter(|leaf| leaf.pa != leaf.ipa)
    }
}

/// The pages of RAM that the hypervisor maps, by its own stage 1.
#[derive(Default)]
struct Own {
    /// Those that it owns in its linear map.
    linear: BTreeSet<u64>,
    /// Those that it owns and writes to elsewhere.
    elsewhere: BTreeSet<u64>,
    mapped: BTreeSet<u64>,
}

impl Own {
    /// The linear map is the distance between address and page that most bytes have.
    ///
    /// If no leaf has a state, the kernel keeps states elsewhere (from 6.16, hyp_vmemmap). Then nothing in the linear
    /// map is known to be the hypervisor's own.
    fn of(leaves: &[HypervisorLeaf], granule: u64, budget: &mut usize) -> Result<Own, LookError> {
        let distance = |leaf: &HypervisorLeaf| leaf.va.wrapping_sub(leaf.pa);
        let mut bytes: HashMap<u64, u64> = HashMap::new();
        for leaf in leaves {
            let known = bytes.entry(distance(leaf)).or_default();
            *known = known.saturating_add(leaf.size);
        }
        let linear = bytes.into_iter().max_by_key(|(distance, bytes)| (*bytes, *distance)).map(|most| most.0);
        let has_states = leaves.iter().any(|leaf| leaf.software & STATE != 0);
        let mut own = Own::default();
        for leaf in leaves {
            let found = pages(leaf.pa, leaf.size, granule, budget)?;
            let owns = leaf.software & STATE == 0;
            match Some(distance(leaf)) == linear {
                true if owns && has_states => own.linear.extend(&found),
                false if owns && leaf.write => own.elsewhere.extend(&found),
                _ => {}
            }
            own.mapped.extend(found);
        }
        Ok(own)
    }
}

/// Returns the addresses of the pages in a range.
fn pages(start: u64, size: u64, granule: u64, budget: &mut usize) -> Result<BTreeSet<u64>, LookError> {
    let count = size.div_ceil(granule);
    let left = usize::try_from(count).ok().and_then(|count| budget.checked_sub(count));
    *budget = left.ok_or(LookError::TooLarge)?;
    Ok((0..count).map(|n| start.saturating_add(n * granule)).collect())
}

impl Withheld {
    fn of(pages: &BTreeSet<u64>, stage2: &Stage2, memory: &dyn PhysMem) -> Withheld {
        let mut withheld = Withheld { pages: pages.len(), ..Withheld::default() };
        for &pa in pages {
            let leaf = match stage2.translate(memory, pa) {
                Ok(leaf) => Some(leaf),
                Err(Fault::Translation { descriptor: 0, .. }) => None,
                // Marked, or malformed, which the walk reports.
                Err(_) => continue,
            };
            withheld.open += 1;
            if withheld.first.len() < MOST_KEPT {
                withheld.first.push(Open { pa, leaf });
            }
        }
        withheld
    }
}
