//! The files in the program, so that it needs no checkout: the lab folder that ships, and the
//! source of the agent, of QEMU's plugin and of the judge. `build/` collects them.

use crate::objects::digest::Hasher;
use std::{fs, io, path::Path};

/// A file in the program.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// The path with `/` between names. Files are sorted by folder.
    pub path: &'static str,
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// Writes the files below `folder`, which it makes.
pub fn write(files: &[File], folder: &Path) -> io::Result<()> {
    for file in files {
        let path = folder.join(file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, file.bytes)?;
    }
    Ok(())
}

/// Returns the SHA-256 of names and contents, in hexadecimal.
pub(crate) fn digest(files: &[File]) -> String {
    let mut hasher = Hasher::default();
    for field in files.iter().flat_map(|file| [file.path.as_bytes(), file.bytes]) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, process::Command};

    #[test]
    fn the_digest_follows_names_and_contents() {
        let all = [
            &[File { path: "a", bytes: b"xy" }, File { path: "b", bytes: b"z" }][..],
            &[File { path: "a", bytes: b"x" }, File { path: "b", bytes: b"yz" }],
            &[File { path: "a", bytes: b"xy" }, File { path: "c", bytes: b"z" }],
            &[File { path: "a", bytes: b"xy" }],
        ];
        let digests: BTreeSet<_> = all.iter().map(|files| digest(files)).collect();
        assert_eq!(digests.len(), all.len());
    }

    /// Returns cargo's list of the packages. cargo takes the manifests and the lock file as they
    /// are: `--locked` refuses a lock file that cargo would change.
    fn packages(files: &[File]) -> String {
        let dir = tempfile::tempdir().unwrap();
        write(files, dir.path()).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--offline", "--locked", "--workspace", "--prefix", "none"]);
        let output = cargo.current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_agents_source_is_whole() {
        let tree = packages(AGENT);
        for package in ["s2lab-agent", "s2lab-protocol", "rustix"] {
            assert!(tree.contains(package), "{tree}");
        }
        let lock = AGENT.iter().find(|file| file.path == "Cargo.lock").unwrap();
        let lock = str::from_utf8(lock.bytes).unwrap();
        for foreign in ["\"tokio\"", "\"proptest\"", "\"s2lab\""] {
            assert!(!lock.contains(foreign), "{foreign} is not the agent's");
        }
    }

    #[test]
    fn the_plugins_source_is_whole() {
        let tree = packages(PLUGIN);
        let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"s2lab-plugin") && names.contains(&"s2lab-trace"), "{tree}");
        assert!(names.iter().all(|name| name.is_empty() || name.starts_with("s2lab-")), "{tree}");
    }

    #[test]
    fn the_judges_source_is_whole() {
        let tree = packages(JUDGE);
        let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"s2lab-judge") && names.contains(&"s2lab-judge-records"), "{tree}");
        assert!(names.iter().all(|name| name.is_empty() || name.starts_with("s2lab-judge")), "{tree}");
        assert!(JUDGE.iter().any(|file| file.path == "guest-agent/judge/src/judge.ld"));
    }

    #[test]
    fn the_lab_is_the_checkouts() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in LAB {
            assert_eq!(fs::read(checkout.join(file.path)).unwrap(), file.bytes, "{}", file.path);
        }
        let has = |path: &str| LAB.iter().any(|file| file.path == path);
        assert!(
            has("images/kernels.yaml") && has("scenarios/schema.json") && has("scenarios/vfio-pci-bar.yaml")
        );
        assert!(LAB.iter().any(|file| file.path.starts_with("reports/")));
    }
}
