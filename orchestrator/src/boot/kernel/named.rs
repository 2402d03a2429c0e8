//! A kernel by its name in a plan: an entry of `images/kernels.yaml`, or a kernel from the command
//! line.

use super::resolved::{KernelRequest, patches, wanted};
use s2lab_cache::{
    CacheError, KernelSource,
    series::{LeadMail, Patch, patchset_hash},
};
use s2lab_model::{
    event::{KernelOrigin, PlannedCell, SeriesOrigin},
    kernel::{Kernels, Provider},
};
use std::{collections::BTreeSet, path::Path};

/// A kernel that is not an entry of `images/kernels.yaml`, or one with a series on top.
#[derive(Debug, Clone)]
pub struct CustomKernel {
    /// The kernel's half of a key.
    pub label: String,
    pub wanted: KernelRequest,
    /// The description, in a line for a person.
    pub about: String,
    /// The patches that are applied to its source.
    pub series: Option<SeriesOrigin>,
    /// Words for the kernel's command line.
    pub arguments: Vec<String>,
}

/// The folder of `kernels.yaml` in a lab folder.
const IMAGES: &str = "images";

/// Returns the origin of an entry of `images/kernels.yaml` that has patches, for the plan. `folder`
/// is the folder of the list. Returns None for an entry without patches, and for patches that cannot
/// be read: the kernel is then missing, with the reason.
pub fn entry_origin(kernels: &Kernels, name: &str, folder: &Path) -> Option<KernelOrigin> {
    let series = entry_series(kernels, name, folder)?;
    let about = format!("{name} of images/kernels.yaml");
    Some(KernelOrigin { about, commit: None, series: Some(series) })
}

/// Returns the patches of an entry like [`entry_origin`].
pub fn entry_series(kernels: &Kernels, name: &str, folder: &Path) -> Option<SeriesOrigin> {
    let Provider::Source(source) = &kernels.entries.get(name)?.provider else { return None };
    let series = patches(source, folder).ok().filter(|series| !series.patches.is_empty())?;
    // A path with `~` is outside of the lab folder, and so is an absolute one, which `join` keeps.
    let shown = |path: &String| match path.starts_with('~') {
        true => path.clone(),
        false => Path::new(IMAGES).join(path).display().to_string(),
    };
    let files = source.patches.iter().map(shown).collect();
    Some(SeriesOrigin { files, ..series_origin(series.lead.as_ref(), &series.patches) })
}

/// Returns the origin of patches. The mail `lead` stands for them.
pub fn series_origin(lead: Option<&LeadMail>, patches: &[Patch]) -> SeriesOrigin {
    SeriesOrigin {
        patches: patches.len(),
        digest: patchset_hash(patches),
        subject: lead.map(|mail| mail.subject.clone()),
        message_id: lead.and_then(|mail| mail.message_id.clone()),
        files: vec![],
    }
}

impl CustomKernel {
    /// Returns its origin, for the plan.
    pub fn origin(&self) -> KernelOrigin {
        let commit = match &self.wanted {
            KernelRequest::Built(build) => match &build.source {
                KernelSource::Revision { revision, .. } => Some(revision.clone()),
                KernelSource::Package(_) | KernelSource::Folder(_) => None,
            },
            KernelRequest::Archive(_) | KernelRequest::File(_) | KernelRequest::Fetched(_) => None,
        };
        KernelOrigin { about: self.about.clone(), commit, series: self.series.clone() }
    }

    /// Returns the patches that are applied to its source.
    pub fn patches(&self) -> &[Patch] {
        match &self.wanted {
            KernelRequest::Built(build) => &build.patches,
            KernelRequest::Archive(_) | KernelRequest::File(_) | KernelRequest::Fetched(_) => &[],
        }
    }
}

/// Yields the kernels of these cells, each once.
pub(in crate::boot) fn names(cells: &[PlannedCell]) -> impl Iterator<Item = &String> {
    let mut known = BTreeSet::new();
    cells.iter().map(|cell| &cell.kernel).filter(move |name| known.insert(*name))
}

/// Returns the request to the cache for the kernel of this name.
pub(in crate::boot) fn resolve(
    name: &str,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
) -> Result<KernelRequest, CacheError> {
    let given = chosen.iter().find(|chosen| chosen.label == name);
    given.map_or_else(|| wanted(kernels, name, folder), |chosen| Ok(chosen.wanted.clone()))
}
