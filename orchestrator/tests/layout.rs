//! The shape of the project that no compiler holds.

use std::{path::Path, process::Command};

/// The crates without I/O.
const PURE: [&str; 3] = ["s2lab-mmu", "s2lab-model", "s2lab-protocol"];
/// What would give them I/O.
const IMPURE: [&str; 5] = ["tokio", "rustix", "qapi", "ssh2", "libc"];

#[test]
fn the_pure_crates_have_no_io_among_their_dependencies() {
    for package in PURE {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--format",
                "{p}",
                "-p",
                package,
            ])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&package), "{tree}\n{}", String::from_utf8_lossy(&output.stderr));
        for impure in IMPURE {
            assert!(!names.contains(&impure), "{package} depends on {impure}:\n{tree}");
        }
    }
}
