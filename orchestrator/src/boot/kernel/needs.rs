//! The needs of a plan's kernels before they can be booted.

use super::{
    guests::GuestsKernel,
    named::{CustomKernel, names, resolve},
    resolved::KernelRequest,
};
use s2lab_cache::{Cache, CacheError, Extent, KernelBuild, Need};
use s2lab_model::{event::PlannedCell, kernel::Kernels};
use std::{collections::BTreeSet, path::Path};

/// A kernel that cannot be booted at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelNeed {
    /// The name for people.
    pub name: String,
    /// The names in the plan. Several kernels that differ only in their arguments are one.
    pub kernels: BTreeSet<String>,
    pub need: Need,
}

/// Returns the needs of these cells' kernels and of the kernel of their guests, in the order in which the
/// kernels are prepared. A kernel that needs nothing is left out, and so is one whose need is not known:
/// its preparation reports the error. `folder` is the folder of `kernels.yaml`.
pub async fn needs(
    cache: &Cache,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
    cells: &[PlannedCell],
    guest: Option<GuestsKernel<'_>>,
) -> Vec<KernelNeed> {
    let (guest, known) = guest.map(|guest| (guest.name, guest.known)).unzip();
    let mut known = known.flatten();
    let mut requests: Vec<(KernelRequest, Vec<&str>)> = vec![];
    for name in names(cells).map(String::as_str).chain(guest) {
        match resolve(name, kernels, folder, chosen) {
            // Mutants are one build, and guests boot a kernel that may be tested as well.
            Ok(request) => match requests.iter_mut().find(|(known, _)| *known == request) {
                Some((_, names)) => names.push(name),
                None => requests.push((request, vec![name])),
            },
            Err(error) => tracing::debug!("{name}: {error}"),
        }
    }
    requests.sort_by(|(one, _), (other, _)| one.order().cmp(&other.order()));
    let mut found = vec![];
    for (at, (request, names)) in requests.iter().enumerate() {
        let need = match known.take_if(|(asked, _)| asked == request) {
            Some((_, need)) => Some(need),
            None => need(cache, request).await,
        };
        // Given files were read when the arguments were checked.
        let Some(need) = need else { continue };
        let follows = |build| requests[..at].iter().any(|(before, _)| is_beside(before, build));
        let (name, need) = match (request, need) {
            (KernelRequest::Built(build), Ok(Need::Build(Extent::Whole(_)))) if follows(build) => {
                (build.name.as_str(), Ok(Need::Build(Extent::Changes)))
            }
            (KernelRequest::Built(build), need) => (build.name.as_str(), need),
            (_, need) => (names[0], need),
        };
        match need {
            Ok(Need::Nothing) => {}
            Ok(need) => {
                let kernels: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
                let is_tested = cells.iter().any(|cell| kernels.contains(&cell.kernel));
                let name = if is_tested { name.to_owned() } else { format!("{name} for guests") };
                found.push(KernelNeed { name, kernels, need });
            }
            Err(error) => tracing::debug!("{name}: {error}"),
        }
    }
    found
}

/// Returns the need of one kernel, or None for a given file.
pub(super) async fn need(cache: &Cache, request: &KernelRequest) -> Option<Result<Need, CacheError>> {
    match request {
        KernelRequest::Archive(debian) => Some(cache.kernel_need(debian).await),
        KernelRequest::Built(build) => Some(cache.build_need(build).await),
        KernelRequest::File(_) | KernelRequest::Fetched(_) => None,
    }
}

/// Returns true if `before` is built in the same folder as `build`, with the same configuration.
fn is_beside(before: &KernelRequest, build: &KernelBuild) -> bool {
    let KernelRequest::Built(other) = before else { return false };
    let source = |build: &KernelBuild| KernelRequest::Built(build.clone()).order().0;
    other.config == build.config && source(other) == source(build)
}
