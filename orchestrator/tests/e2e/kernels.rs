//! Kernels that s2lab has never seen: judged by their behaviour, whatever their names.

use crate::harness::{Place, accepted, part, scenario};
use std::{
    fs,
    path::{Path, PathBuf},
};

const SCENARIO: &str = "vfio-pci-bar";
const POINT: &str = "+fwb=no";

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

/// Each kernel as in the list, and under a name that claims the contrary: the same verdict, label
/// and promised part. The hosts are its own, because no other test boots such Images.
#[test]
fn an_unknown_image_is_judged_by_what_it_does() {
    let place = Place::new();
    for (listed, release, claim, label) in [
        ("debian-6.1", "6.1.", "linux-6.12-with-the-series", "as before the series"),
        ("debian-6.12", "6.12.", "linux-6.1-before-the-series", "as wc-honoured"),
    ] {
        let (image, modules) = unpacked(&place, release);
        let renamed = place.path().join(claim);
        fs::copy(&image, &renamed).unwrap();
        let found = judged(&report(&place, &renamed, &modules));
        assert_eq!(found.0, label, "{listed}");
        // `shipped` holds that the accepted report is what the listed kernel does.
        assert_eq!(found, judged(&accepted(SCENARIO, &format!("{listed}{POINT}"))), "{listed}");
    }
}

/// Returns the report of an Image.
fn report(place: &Place, image: &Path, modules: &Path) -> String {
    let run = place.s2lab([
        "run",
        &format!("{SCENARIO}{POINT}"),
        "--kernel",
        image.to_str().unwrap(),
        "--modules",
        modules.to_str().unwrap(),
    ]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    report.clone()
}

/// Returns the label of a report that passes, and its promised part.
fn judged(report: &str) -> (String, String) {
    let (_, verdict) = report.lines().next().unwrap().split_once("PASS ").unwrap();
    let (label, _) = verdict.split_once("    ").unwrap_or((verdict, ""));
    (label.to_owned(), part(report, "promised"))
}
