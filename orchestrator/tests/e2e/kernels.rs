//! Kernels that s2lab has never seen: judged by their behaviour, whatever their names.

use crate::harness::{Place, part, scenario};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the cache's unpacked kernel whose release begins with `release`: its image and its
/// folder of modules.
pub(crate) fn unpacked(place: &Place, release: &str) -> (PathBuf, PathBuf) {
    // A run fetches the kernels, and its command lines name them.
    let run = place.s2lab(["run", &scenario("inverted"), "--dry-run"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let kernels = cache.join("s2lab/objects/kernel");
    let found = fs::read_dir(&kernels).unwrap().map(|entry| entry.unwrap().path());
    let entry = found.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().contains(release));
    let entry = entry.unwrap_or_else(|| panic!("no kernel {release} in {}", kernels.display()));
    (entry.join("Image"), entry)
}

#[test]
fn an_unknown_image_is_judged_by_what_it_does() {
    let place = Place::new();
    let shipped = place.s2lab(["run", "vfio-pci-bar-no-fwb"]);
    assert_eq!(shipped.code, Some(0), "{}{}", shipped.stdout, shipped.stderr);
    for (release, label) in [("6.1.", "as before the series"), ("6.12.", "as wc-honoured")] {
        let (image, modules) = unpacked(&place, release);
        let first = judged(&place, &image, &modules);
        assert!(first.0.ends_with(label), "{}", first.0);
        // The same image under a name that claims the contrary.
        let renamed = place.path().join("linux-of-a-friend-with-the-series");
        fs::copy(&image, &renamed).unwrap();
        let second = judged(&place, &renamed, &modules);
        assert_eq!(first, second);
    }
}

/// Returns the verdict with its label, and the promised part.
fn judged(place: &Place, image: &Path, modules: &Path) -> (String, String) {
    let run = place.s2lab([
        "run",
        "vfio-pci-bar-no-fwb",
        "--kernel",
        image.to_str().unwrap(),
        "--modules",
        modules.to_str().unwrap(),
    ]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    let (_, verdict) = report.lines().next().unwrap().split_once("PASS ").unwrap();
    let (label, _) = verdict.split_once("    ").unwrap_or((verdict, ""));
    (label.to_owned(), part(report, "promised"))
}
