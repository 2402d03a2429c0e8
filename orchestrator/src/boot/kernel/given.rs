//! Kernels that were given as files, and their check before a run is made.

use super::{
    named::{CustomKernel, names, resolve},
    ready::{KernelConfig, KernelFiles, fetched, kernel},
    resolved::{ImageChoice, KernelRequest, Place},
};
use s2lab_cache::{Cache, CacheError};
use s2lab_model::{
    event::PlannedCell,
    kconfig::{self, Lack},
    kernel::Kernels,
};
use std::{collections::BTreeMap, path::Path};

/// Returns the kernels of these cells that were given as files, by their path or address. The others
/// are checked when they are gathered.
pub fn given(
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
    cells: &[PlannedCell],
) -> Vec<(String, KernelRequest)> {
    let given = |name: &String| match resolve(name, kernels, folder, chosen) {
        Ok(request @ (KernelRequest::File(_) | KernelRequest::Fetched(_))) => Some((name.clone(), request)),
        Ok(KernelRequest::Archive(_) | KernelRequest::Built(_)) | Err(_) => None,
    };
    names(cells).filter_map(given).collect()
}

/// The kernels that were given as files, read and checked. The files may change after that: a run
/// boots what was checked.
#[derive(Clone, Default)]
pub struct CheckedKernels {
    /// The kernels, by their names in the plan.
    pub(in crate::boot) files: BTreeMap<String, KernelFiles>,
    /// The cache that they are in. While it is open nobody removes them.
    pub(in crate::boot) cache: Option<Cache>,
}

/// Reads kernels that were given as files, before a run is made: defects of them are the user's
/// mistake.
///
/// # Errors
/// [`CacheError::Given`] for a file that is not a kernel, modules that are not its own, and modules
/// that a cell needs and nobody gave.
pub async fn check(
    cache: Cache,
    given: &[(String, KernelRequest)],
    cells: &[PlannedCell],
) -> Result<CheckedKernels, CacheError> {
    let mut checked = BTreeMap::new();
    for (name, request) in given {
        let of_kernel = cells.iter().filter(|cell| cell.kernel == *name);
        if let Some(files) = checked_files(&cache, request, of_kernel).await? {
            checked.insert(name.clone(), files);
        }
    }
    Ok(CheckedKernels { files: checked, cache: Some(cache) })
}

/// Returns a kernel that was given as a file, checked. Returns None for any other.
async fn checked_files<'a>(
    cache: &Cache,
    request: &KernelRequest,
    cells: impl Iterator<Item = &'a PlannedCell>,
) -> Result<Option<KernelFiles>, CacheError> {
    let (choice, address) = match request {
        KernelRequest::File(choice) => (choice.clone(), None),
        KernelRequest::Fetched(choice) => (fetched(cache, choice).await?, Some(choice)),
        KernelRequest::Archive(_) | KernelRequest::Built(_) => return Ok(None),
    };
    // A path in the cache says nothing to the user.
    let named = |error| match (error, address.map(|address| &address.image)) {
        (CacheError::Image { path, why }, Some(Place::Url(artifact))) if path == choice.image => {
            CacheError::Artifact { url: artifact.url.clone(), why: why.to_string() }
        }
        (error, _) => error,
    };
    let files = kernel(cache, &KernelRequest::File(choice.clone())).await.map_err(named)?;
    check_modules(&files, &choice, cells)?;
    Ok(Some(files))
}

/// Checks that the modules which the kernel's cells need were given.
fn check_modules<'a>(
    files: &KernelFiles,
    choice: &ImageChoice,
    cells: impl Iterator<Item = &'a PlannedCell>,
) -> Result<(), CacheError> {
    let Some(KernelConfig { config, .. }) = &files.config else { return Ok(()) };
    let delivered = files.boot.delivered();
    let delivered = delivered.map_err(CacheError::io("cannot read", &files.boot.modules))?;
    for cell in cells {
        let lacks = kconfig::lacking(config, &cell.resolved, &delivered);
        if let Some(module) = lacks.iter().find_map(Lack::module_not_given) {
            return Err(not_given(module, choice));
        }
    }
    Ok(())
}

/// Returns the error for a module that the kernel has but that was not given.
fn not_given(module: &str, choice: &ImageChoice) -> CacheError {
    match &choice.modules {
        Some(folder) => {
            CacheError::given(folder, format!("it has no module `{module}`, which the kernel needs"))
        }
        None => CacheError::given(
            &choice.image,
            format!("its configuration has `{module}` as a module, and no modules were given: --modules DIR"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::files::{KernelSources, requests};
    use s2lab_cache::Quiet;
    use s2lab_model::{cell::ResolvedCell, kernel::Traits, scenario::load};
    use std::{
        collections::BTreeSet,
        fs,
        path::PathBuf,
        sync::Arc,
        time::{Duration, Instant},
    };

    /// Returns a cell on the kernel `mine`.
    fn cell() -> PlannedCell {
        let yaml = "scenario: s\nabout: x\nhost: {cpu: max}\nguests: {g0: {vmm: qemu}}\n\
                    steps: [look: {name: up}]\nexpect: [{at: up, of: ram, stage2: Normal-WB}]\n";
        let resolved = ResolvedCell::of(&load("s.yaml", yaml).unwrap(), Traits::Exactly([].into()));
        let (key, about) = ("s@mine".parse().unwrap(), String::new());
        PlannedCell { key, kernel: "mine".into(), about, repeat: vec![], resolved }
    }

    /// Returns a file that has an Image's header and nothing else.
    fn image() -> Vec<u8> {
        let mut image = vec![7; 200];
        image[16..24].fill(0);
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    #[test]
    fn a_run_boots_the_file_that_was_checked_and_nobody_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Image");
        fs::write(&path, image()).unwrap();
        let open = || Cache::open(&dir.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let choice = ImageChoice {
            label: "mine".into(),
            image: path.clone(),
            modules: None,
            config: None,
            system_map: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let checked = runtime
            .block_on(check(open(), &[("mine".into(), KernelRequest::File(choice.clone()))], &[]))
            .unwrap();
        let due = checked.files["mine"].boot.sha256.clone();

        // The file that is booted would be another one, or none.
        fs::remove_file(&path).unwrap();
        let listed =
            "kernels:\n  a: {about: x, provider: image, path: a, traits: []}\ndefault: [a]\nguest: a\n";
        let listed = s2lab_model::kernel::load("kernels.yaml", listed).unwrap();
        let wanted = KernelRequest::File(choice);
        let mine = CustomKernel {
            label: "mine".into(),
            wanted: wanted.clone(),
            about: String::new(),
            series: None,
            arguments: vec![],
        };
        let (cells, chosen, folder) = ([cell()], [mine], PathBuf::new());
        let due_of = |checked: &CheckedKernels| {
            let sources = KernelSources {
                listed: &listed,
                guest: &listed.guest,
                folder: &folder,
                chosen: &chosen,
                checked,
            };
            requests(sources, &cells, &BTreeSet::new())
        };
        let (kernels, left, _) = due_of(&checked);
        assert!(left.is_empty());
        let files = kernels.get("mine").unwrap().as_ref().unwrap();
        assert_eq!(files.boot.sha256, due);
        let (unchecked, left, _) = due_of(&CheckedKernels::default());
        assert!(!unchecked.is_settled("mine") && left.len() == 1, "it is read again");
        assert!(runtime.block_on(kernel(&open(), &wanted)).is_err());

        let collect = || open().collect(Duration::ZERO, false).unwrap().items.len();
        assert_eq!(collect(), 0, "in use");
        assert!(files.boot.image.is_file());
        drop(checked);
        // A child that another test starts holds the lock too, until it executes its program.
        let end = Instant::now() + Duration::from_secs(10);
        let mut collected = collect();
        while collected == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
            collected = collect();
        }
        assert_eq!(collected, 1);
        assert!(!files.boot.image.exists());
    }
}
