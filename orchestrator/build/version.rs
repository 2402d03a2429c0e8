//! The version with the commit: `0.1.0 (a1b2c3d)`. Without git it is the version alone.

use std::{env, path::Path, process::Command};

pub(crate) fn tell() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // In a further worktree they lie elsewhere. A path that is not there would build the program each time.
    for path in ["HEAD", "refs"].iter().filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
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
