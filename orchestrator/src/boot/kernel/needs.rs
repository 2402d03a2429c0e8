//! The needs of a plan's kernels before they can be booted.

use super::{
    named::{CustomKernel, names, resolve},
    resolved::KernelRequest,
};
use s2lab_cache::{Cache, Extent, KernelBuild, Need};
use s2lab_model::{event::PlannedCell, kernel::Kernels};
use std::path::Path;

/// Returns the needs of these cells' kernels and of the kernel of their guests, by name, in the order in
/// which the kernels are prepared. A kernel that needs nothing is left out, and so is one whose need is
/// not known: its preparation reports the error. `folder` is the folder of `kernels.yaml`.
pub async fn needs(
    cache: &Cache,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
    cells: &[PlannedCell],
    guest: Option<&String>,
) -> Vec<(String, Need)> {
    let mut requests: Vec<(String, KernelRequest)> = vec![];
    for name in names(cells).chain(guest) {
        match resolve(name, kernels, folder, chosen) {
            // Mutants are one build, and guests boot a kernel that may be tested as well.
            Ok(request) if requests.iter().any(|(_, known)| *known == request) => {}
            Ok(request) => requests.push((name.clone(), request)),
            Err(error) => tracing::debug!("{name}: {error}"),
        }
    }
    requests.sort_by(|(_, one), (_, other)| one.order().cmp(&other.order()));
    let mut found = vec![];
    for (at, (name, request)) in requests.iter().enumerate() {
        let (name, need) = match request {
            KernelRequest::Archive(debian) => (name, cache.kernel_need(debian).await),
            KernelRequest::Built(build) => {
                let follows = requests[..at].iter().any(|(_, before)| is_beside(before, build));
                let need = cache.build_need(build).await.map(|need| match need {
                    Need::Build(Extent::Whole(_)) if follows => Need::Build(Extent::Changes),
                    need => need,
                });
                (&build.name, need)
            }
            // They were read when the arguments were checked.
            KernelRequest::File(_) | KernelRequest::Fetched(_) => continue,
        };
        match need {
            Ok(Need::Nothing) => {}
            Ok(need) => found.push((name.clone(), need)),
            Err(error) => tracing::debug!("{name}: {error}"),
        }
    }
    found
}

/// Returns true if `before` is built in the same folder as `build`, with the same configuration.
fn is_beside(before: &KernelRequest, build: &KernelBuild) -> bool {
    let KernelRequest::Built(other) = before else { return false };
    let source = |build: &KernelBuild| KernelRequest::Built(build.clone()).order().0;
    other.config == build.config && source(other) == source(build)
}
