//! Stage-1 and stage-2 translation tables of the Arm architecture, decoded and walked without I/O.
//!
//! Three questions are answered from registers and memory alone, as the MMU would answer them:
//!
//! - what does stage 2 map: [`Stage2::walk`], and in few words [`ranges`];
//! - where does an address go: [`Stage1::translate`], [`Stage2::translate`];
//! - what memory type comes of both stages: [`combine`].
//!
//! A guest's stage-1 tables lie at IPAs, so they are read through [`ThroughStage2`]. A walk can be repeated later: read
//! through [`RecordingMem`], keep the pages it names, and walk again over a [`PageMem`] of them.
//!
//! Everything read is taken for hostile: tables may point anywhere, even at themselves. No input makes this crate
//! panic or run for long; [`Limits`] bound a walk.
//!
//! Source of the formats: Arm Architecture Reference Manual (DDI 0487), chapter D8, "The AArch64 Virtual Memory System
//! Architecture". Not modelled, because no register given here tells of them and KVM does not use them for guests:
//! 128-bit descriptors (FEAT_D128), permission indirection (FEAT_S1PIE, FEAT_S2PIE), FEAT_MTE_PERM, big-endian tables.

mod attr;
mod geometry;
mod mem;
mod memory_type;
mod ranges;
mod stage1;
mod stage2;

pub use attr::{Exec, Shareability, Stage1Attr, Stage2Attr, TypeAttr, combine};
pub use geometry::{Fault, GeometryError, Granule};
pub use mem::{PAGE_SIZE, PageError, PageMem, PhysMem, RecordingMem, ThroughStage2};
pub use memory_type::{MemoryType, UnknownMemoryType};
pub use ranges::{Range, ranges};
pub use stage1::{Stage1, Stage1Leaf};
pub use stage2::{Anomaly, AnomalyKind, Limits, Stage2, Stage2Leaf, Walk};
