//! Stage-1 and stage-2 translation tables of the Arm architecture, decoded and walked without I/O.
//!
//! The crate answers six questions from registers and memory alone, as the MMU would answer them:
//!
//! - what does stage 2 map: [`Stage2::walk`], and summarized in [`ranges`];
//! - where does an address go: [`Stage1::translate`], [`Stage2::translate`];
//! - what memory type do both stages give together: [`combine`];
//! - which register bits change the meaning of the tables: [`controls`];
//! - which cached translations of a guest does an instruction remove: [`Tlbi`];
//! - what does a hypervisor map for itself: [`Hypervisor`].
//!
//! A guest's stage-1 tables are at IPAs, so they are read through [`ThroughStage2`]. To repeat a
//! walk later, read through [`RecordingMem`], keep the pages that it lists, and walk again over a
//! [`PageMem`] of them.
//!
//! ```
//! use s2lab_mmu::*;
//!
//! /// A start table whose first entry is a 1 GiB block, Normal-NC, read-write, never-exec.
//! struct Memory;
//! impl PhysMem for Memory {
//!     fn read_u64(&self, pa: u64) -> Option<u64> {
//!         (0x8000..0xa000).contains(&pa).then_some(if pa == 0x8000 { 1 << 54 | 0x4000_07d5 } else { 0 })
//!     }
//! }
//!
//! // VTTBR_EL2: table at 0x8000. VTCR_EL2: 40-bit IPAs, start level 1, 48-bit PAs. HCR_EL2: VM and FWB.
//! let stage2 = Stage2::new(0x8000, 24 | 1 << 6 | 5 << 16, 1 | 1 << 46)?;
//! let walk = stage2.walk(&Memory);
//! assert!(walk.anomalies.is_empty());
//! let line = ranges(&walk.leaves).next().unwrap().to_string();
//! assert_eq!(line, "0x0..0x40000000 -> 0x40000000  1 x 1G level 1  Normal-NC  rw  never-exec");
//! let guest_maps_it_write_back = Stage1Attr::decode(0xff);
//! assert_eq!(combine(guest_maps_it_write_back, walk.leaves[0].attr), Some(MemoryType::NormalNC));
//! # Ok::<(), GeometryError>(())
//! ```
//!
//! All input is treated as hostile: tables may point anywhere, even at themselves. No input makes
//! this crate panic or run for long; [`Limits`] bound a walk.
//!
//! Source of the formats: Arm Architecture Reference Manual (DDI 0487), chapter D8, "The AArch64
//! Virtual Memory System Architecture". Not modelled, because no register given here shows them and
//! KVM does not use them for guests: 128-bit descriptors (FEAT_D128), permission indirection
//! (FEAT_S1PIE, FEAT_S2PIE), FEAT_MTE_PERM, big-endian tables.

mod attr;
mod contiguous;
mod controls;
mod geometry;
mod hypervisor;
mod mem;
mod memory_type;
mod ranges;
mod stage1;
mod stage2;
mod tlbi;

pub use attr::{Exec, Shareability, Stage1Attr, Stage2Attr, TypeAttr, combine, combine_attributes};
pub use contiguous::unlike_neighbours;
pub use controls::{Control, controls};
pub use geometry::{Fault, GeometryError, Granule};
pub use hypervisor::{Hypervisor, HypervisorLeaf};
pub use mem::{PAGE_SIZE, PageError, PageMem, PhysMem, RecordingMem, ThroughStage2};
pub use memory_type::{MemoryType, UnknownMemoryType};
pub use ranges::{Range, ranges};
pub use stage1::{Stage1, Stage1Leaf};
pub use stage2::{Anomaly, AnomalyKind, Limits, Stage2, Stage2Leaf, Walk};
pub use tlbi::{Ineffective, Invalidation, InvalidationScope, Ipas, Tlbi};
