//! The emulated host's user land: QEMU, ssh, a shell and exactly the libraries they need, as one
//! archive. An emulated CPU unpacks it at every boot, so every megabyte takes time: for hosts without
//! a guest of QEMU there is another archive.

use crate::{
    Cache, Userland,
    debian::{
        apt::{Deb, Question, Scope},
        deb, suites,
    },
    error::{CacheError, Result},
    objects::object::{self, Building},
    parts::{
        elf,
        initramfs::{self, Node},
    },
};
use s2lab_os::outside::{self, kinds};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const WHAT: &str = "the emulated host's user land";
const PACKAGES: [&str; 3] = ["qemu-system-arm", "dropbear-bin", "busybox-static"];
pub(crate) const QEMU: &str = "usr/bin/qemu-system-aarch64";
/// The programs that the agent starts.
pub(crate) const PROGRAMS: [&str; 3] = [QEMU, "usr/sbin/dropbear", "usr/bin/busybox"];
/// The content besides the programs: glibc loads libgcc_s by itself when a thread ends by
/// `pthread_exit` (glibc 2.36, `sysdeps/nptl/libc_start_call_main.h` and `misc/unwind-link.c`).
const CONTENT: [&str; 4] = [PROGRAMS[0], PROGRAMS[1], PROGRAMS[2], "usr/lib/aarch64-linux-gnu/libgcc_s.so.1"];
/// The shell, which finds its other applets by itself (FEATURE_SH_STANDALONE). They get no names of
/// their own: the kernel would find a `/sbin/modprobe` then, and start it during the boot.
const SHELL: (&str, &str) = ("usr/bin/sh", "busybox");
/// The folders. dropbear keeps its host key in the first, `root` has its home in the second.
const FOLDERS: [&str; 3] = ["etc", "etc/dropbear", "root"];
/// The user who may log in: `root`, with a blank password.
const USERS: (&str, &[u8]) = ("etc/passwd", b"root::0:0:root:/root:/bin/sh\n");
/// The loader's default folders on Debian's arm64.
const LIBRARIES: [&str; 2] = ["usr/lib/aarch64-linux-gnu", "usr/lib"];
pub(crate) const ARCHIVE: &str = "userland.cpio";
/// The same without QEMU and its libraries.
pub(crate) const WITHOUT_QEMU: &str = "without-qemu.cpio";

#[derive(Serialize)]
struct Inputs<'a> {
    debs: &'a [Deb],
    content: &'a [&'a str],
    /// The folders in it besides the packages' files.
    folders: &'a [&'a str],
    shell: (&'a str, &'a str),
    users: (&'a str, &'a [u8]),
    archives: [&'a str; 2],
}

impl Cache {
    pub(crate) fn userland_blocking(&self) -> Result<Userland> {
        let question = Question { what: WHAT, packages: &PACKAGES, without: &[] };
        let scope = Scope::new(&suites::ALL, &["arm64"])?;
        let debs = self.apt.resolve(question, &scope, |apt| apt.closure(&PACKAGES.map(str::to_owned)))?;
        let object = self.objects.get(
            "userland",
            "arm64",
            &Inputs {
                debs: &debs,
                content: &CONTENT,
                folders: &FOLDERS,
                shell: SHELL,
                users: USERS,
                archives: [ARCHIVE, WITHOUT_QEMU],
            },
            |building| make(building, &debs, &self.apt.fetch(WHAT, &scope, &debs)?),
        )?;
        Ok(Userland {
            archive: object.path.join(ARCHIVE),
            without_qemu: object.path.join(WITHOUT_QEMU),
            packages: object.manifest.packages.clone(),
            qemu_version: object.fact("qemu")?.to_owned(),
        })
    }
}

fn make(building: &mut Building, debs: &[Deb], files: &[PathBuf]) -> Result<()> {
    let root = building.dir.join("root");
    fs::create_dir(&root).map_err(CacheError::io("cannot create", &root))?;
    for file in files {
        deb::unpack(file, &root, |path| {
            CONTENT.contains(&path) || path.starts_with("usr/lib/") && path.contains(".so")
        })?;
    }
    let [archive, without_qemu] =
        both(&root, &CONTENT, |content| elf::closure(&root, content, &LIBRARIES, |_| false))?;
    for (name, archive) in [(ARCHIVE, archive), (WITHOUT_QEMU, without_qemu)] {
        let path = building.dir.join(name);
        fs::write(&path, archive).map_err(CacheError::io("cannot write", &path))?;
    }
    object::remove_tree(&root)?;
    building.packages = debs.iter().map(Deb::package).collect();
    building.facts.insert("qemu".to_owned(), upstream_version(debs, "qemu-system-arm")?);
    Ok(())
}

/// Packs both archives: that of `content`, and that without QEMU. `closure` returns the files that programs
/// need.
pub(crate) fn both(
    root: &Path,
    content: &[&str],
    closure: impl Fn(&[&str]) -> Result<BTreeMap<String, String>>,
) -> Result<[Vec<u8>; 2]> {
    let rest: Vec<_> = content.iter().copied().filter(|program| *program != QEMU).collect();
    Ok([pack(root, &closure(content)?)?, pack(root, &closure(&rest)?)?])
}

/// Packs the folders, links into `/usr`, the files; the shell and its user.
fn pack(root: &Path, closure: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut folders = BTreeSet::from(FOLDERS);
    for place in closure.keys() {
        for (at, _) in place.match_indices('/') {
            folders.insert(&place[..at]);
        }
    }
    let mut contents = Vec::new();
    for (place, file) in closure {
        let path = root.join(file);
        contents.push((place.as_str(), outside::read(&path, kinds::PROGRAM)?));
    }
    let targets = deb::MERGED.map(|name| (name, format!("usr/{name}")));
    let folders = folders.iter().map(|f| (*f, Node::Directory { mode: 0o755 }));
    let links = targets.iter().map(|(name, target)| (*name, Node::Link { target }));
    let files = contents.iter().map(|(place, data)| (*place, Node::File { mode: 0o755, data }));
    let made =
        [(SHELL.0, Node::Link { target: SHELL.1 }), (USERS.0, Node::File { mode: 0o644, data: USERS.1 })];
    let mut out = Vec::new();
    initramfs::append(&mut out, folders.chain(links).chain(files).chain(made))
        .map_err(CacheError::io("cannot write", "the user land's archive"))?;
    Ok(out)
}

/// Returns `10.0.2` of `1:10.0.2+ds-2+deb13u1~bpo12+1` (Debian Policy §5.6.12: epoch, upstream
/// version, revision).
pub(crate) fn upstream_version(debs: &[Deb], package: &str) -> Result<String> {
    let deb = debs.iter().find(|d| d.name == package).ok_or_else(|| CacheError::NoPackage {
        package: package.to_owned(),
        suites: suites::ALL.join(", "),
        reason: "its own closure lacks it".to_owned(),
    })?;
    let version = deb.version.split_once(':').map_or(deb.version.as_str(), |(_, rest)| rest);
    Ok(version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions() {
        let deb = |version: &str| Deb {
            name: "q".to_owned(),
            version: version.to_owned(),
            architecture: "arm64".to_owned(),
            size: 1,
            sha256: String::new(),
        };
        for (full, upstream) in
            [("1:10.0.2+ds-2+deb13u1~bpo12+1", "10.0.2"), ("7.2-1", "7.2"), ("2022.83-1", "2022.83")]
        {
            assert_eq!(upstream_version(&[deb(full)], "q").unwrap(), upstream);
        }
        assert!(upstream_version(&[deb("1")], "other").is_err());
    }
}
