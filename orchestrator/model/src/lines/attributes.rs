//! The attributes of stage-2 leaves, in words.

use super::words::{bit, one_of};
use super::{Text, columns};
use s2lab_mmu::{Exec, Shareability, Stage2Leaf};
use std::fmt;

/// `stage2 Normal-NC  rw  never-exec  SH inner  AF`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// MemAttr, by the name of the type.
    pub stage2: Text,
    pub read: bool,
    pub write: bool,
    pub exec: Exec,
    /// None with FEAT_LPA2's descriptors, which have no SH.
    pub sh: Option<Shareability>,
    pub af: bool,
}

/// The number of columns.
pub(super) const COLUMNS: usize = 5;

impl Attributes {
    pub(crate) fn of(leaf: &Stage2Leaf) -> Attributes {
        let Stage2Leaf { attr, read, write, exec, sh, af, .. } = *leaf;
        Attributes { stage2: Text::new(&attr.to_string()), read, write, exec, sh, af }
    }

    pub(super) fn read(text: &str) -> Option<Attributes> {
        let [stage2, access, exec, sh, af] = columns::<COLUMNS>(text)?;
        let (read, write) = access.split_at_checked(1)?;
        Some(Attributes {
            stage2: read_stage2(stage2)?,
            read: bit(read, "r", "-")?,
            write: bit(write, "w", "-")?,
            exec: one_of(Exec::ALL, exec)?,
            sh: read_sh(sh)?,
            af: bit(af, "AF", "no AF")?,
        })
    }
}

/// The word before the type.
pub(super) const STAGE2: &str = "stage2 ";

/// `stage2 Normal-NC`
pub(super) fn read_stage2(text: &str) -> Option<Text> {
    text.strip_prefix(STAGE2)?.parse().ok()
}

/// `SH inner`, or `no SH`.
pub(super) fn read_sh(text: &str) -> Option<Option<Shareability>> {
    match text.strip_prefix("SH ") {
        Some(sh) => one_of(Shareability::ALL, sh).map(Some),
        None => (text == "no SH").then_some(None),
    }
}

pub(super) fn show_sh(sh: Option<Shareability>) -> String {
    sh.map_or_else(|| "no SH".into(), |sh| format!("SH {sh}"))
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { stage2, read, write, exec, sh, af } = self;
        let (read, write) = (if *read { "r" } else { "-" }, if *write { "w" } else { "-" });
        let (sh, af) = (show_sh(*sh), if *af { "AF" } else { "no AF" });
        write!(f, "stage2 {stage2}  {read}{write}  {exec}  {sh}  {af}")
    }
}
