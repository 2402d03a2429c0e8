//! The version with the commit: `0.1.0 (a1b2c3d)`. Without git it is the version alone.

use std::{env, path::Path, process::Command};

pub(crate) fn set() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Git names the commit in HEAD, in its branch, or in one file with all branches. A missing path
    // would rebuild the program each time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        match git(&["rev-parse", "--git-path", name]) {
            Some(path) if Path::new(&path).exists() => println!("cargo:rerun-if-changed={path}"),
            _ => {}
        }
    }
    match git(&["rev-parse", "--short=10", "HEAD"]) {
        Some(commit) => println!("cargo:rustc-env=S2LAB_VERSION={version} ({commit})"),
        None => println!("cargo:rustc-env=S2LAB_VERSION={version}"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
