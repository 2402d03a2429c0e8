//! The version with the commit: `0.1.0 (a1b2c3d)`. Without git it is the version alone.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/refs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let git = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output();
    let commit = git
        .ok()
        .filter(|out| out.status.success())
        .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    match commit {
        Some(commit) => println!("cargo:rustc-env=S2LAB_VERSION={version} ({commit})"),
        None => println!("cargo:rustc-env=S2LAB_VERSION={version}"),
    }
}
