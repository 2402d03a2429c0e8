//! Programs out of Debian packages for this machine, unpacked with the libraries that they need.

use crate::{
    Cache, Package,
    debian::{
        apt::{self, Deb, Question, Scope},
        deb,
    },
    error::{CacheError, Result},
    objects::object::{self, Building},
    parts::elf,
};
use s2lab_os::{
    child,
    outside::{self, kinds},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The suites of the programs: the release whose programs run with the oldest glibc that we support.
const SUITES: [&str; 2] = ["bookworm", "bookworm-security"];
/// The fact of an object that lists the folders of its libraries, separated by `:`.
const LIBRARIES: &str = "libraries";

/// Programs, and the packages that they come from. All of it decides the content of an object.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct DebianPrograms<'a> {
    /// The kind of the object.
    pub kind: &'a str,
    /// The name of the object.
    pub name: &'a str,
    /// The packages, which are taken with their dependencies.
    pub packages: &'a [&'a str],
    /// The beginnings of the names of packages that are left out of the dependencies. A missing
    /// name causes a download; a wrong one ends in [`CacheError::NoLibrary`].
    pub without: &'a [&'a str],
    /// The programs, as paths in merged usr.
    pub programs: &'a [&'a str],
    /// The folders that are taken besides programs and libraries.
    pub folders: &'a [&'a str],
    /// Parts of the names of files in `folders` that are left out.
    pub useless: &'a [&'a str],
}

/// Unpacked programs that are ready to be started.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder that has `usr`.
    pub folder: PathBuf,
    /// The packages that the programs come from.
    pub packages: Vec<Package>,
    /// The value of `LD_LIBRARY_PATH`.
    libraries: OsString,
}

impl Programs {
    /// Returns a program without arguments. Its environment is that of a plain program, and the
    /// folders of its libraries. glibc is the machine's: a program that starts itself again by
    /// `/proc/self/exe` would start the loader of another one.
    pub fn command(&self, program: &str) -> Command {
        let mut command = child::command(self.folder.join(program), child::PLAIN);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

#[derive(Serialize)]
struct Inputs<'a> {
    debs: &'a [Deb],
    programs: DebianPrograms<'a>,
}

impl Cache {
    /// Returns programs for this machine. The same input is unpacked once. Blocks.
    pub fn programs(&self, wanted: &DebianPrograms<'_>) -> Result<Programs> {
        let scope = Scope::new(&SUITES, &[apt::machine_architecture()])?;
        let question = Question { what: wanted.name, packages: wanted.packages, without: wanted.without };
        let names: Vec<String> = wanted.packages.iter().map(|name| (*name).to_owned()).collect();
        let debs = self.apt.resolve(question, &scope, |apt| {
            let mut debs = apt.closure(&names)?;
            debs.retain(|deb| !wanted.without.iter().any(|without| deb.name.starts_with(without)));
            Ok(debs)
        })?;
        let inputs = Inputs { debs: &debs, programs: *wanted };
        let object = self.objects.get(wanted.kind, wanted.name, &inputs, |building| {
            make(building, wanted, &debs, &self.apt.fetch(wanted.name, &scope, &debs)?)
        })?;
        let folders = object.fact(LIBRARIES)?.split(':').map(|folder| object.path.join(folder));
        let libraries = env::join_paths(folders).map_err(|_| CacheError::BadName {
            what: "cache folder that LD_LIBRARY_PATH can hold",
            name: object.path.display().to_string(),
        })?;
        Ok(Programs { folder: object.path.clone(), packages: object.manifest.packages, libraries })
    }
}

fn make(building: &mut Building, wanted: &DebianPrograms<'_>, debs: &[Deb], files: &[PathBuf]) -> Result<()> {
    let root = building.dir.join("root");
    fs::create_dir(&root).map_err(CacheError::io("cannot create", &root))?;
    for file in files {
        deb::unpack(file, &root, |path| {
            let library = path.starts_with("usr/lib/") && path.contains(".so");
            let useless = wanted.useless.iter().any(|useless| path.contains(useless));
            wanted.programs.contains(&path) || (library || is_below(wanted.folders, path)) && !useless
        })?;
    }
    let triplet = format!("usr/lib/{}-linux-gnu", env::consts::ARCH);
    let closure = elf::closure(&root, wanted.programs, &[&triplet, "usr/lib"], elf::is_of_glibc)?;
    take(&root, &building.dir, &closure, wanted.folders)?;
    object::remove_tree(&root)?;
    let libraries = closure.keys().filter(|place| !wanted.programs.contains(&place.as_str()));
    let folders: BTreeSet<&str> = libraries.filter_map(|place| Some(place.rsplit_once('/')?.0)).collect();
    building.facts.insert(LIBRARIES.to_owned(), Vec::from_iter(folders).join(":"));
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

fn is_below(folders: &[&str], path: &str) -> bool {
    folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

/// Takes the files of a [`elf::closure`] of `root`, and whole folders, to `into`.
pub(crate) fn take(
    root: &Path,
    into: &Path,
    closure: &BTreeMap<String, String>,
    folders: &[&str],
) -> Result<()> {
    for (place, file) in closure.iter().filter(|(place, _)| !is_below(folders, place)) {
        let (from, to) = (root.join(file), into.join(place));
        make_parent(&to)?;
        outside::copy(&from, &to, kinds::PROGRAM)?;
    }
    for folder in folders.iter().filter(|folder| root.join(folder).is_dir()) {
        let (from, to) = (root.join(folder), into.join(folder));
        make_parent(&to)?;
        fs::rename(&from, &to).map_err(CacheError::io("cannot move", &from))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(CacheError::io("cannot create", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_whole_folders_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (root, into) = (dir.path().join("root"), dir.path().join("into"));
        for file in ["usr/lib/own/program", "usr/lib/own/data", "usr/lib/x.so.1.2", "usr/lib/other.so"] {
            make_parent(&root.join(file)).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        let closure =
            [("usr/lib/own/program", "usr/lib/own/program"), ("usr/lib/x.so.1", "usr/lib/x.so.1.2")];
        let closure = closure.map(|(place, file)| (place.to_owned(), file.to_owned())).into();
        take(&root, &into, &closure, &["usr/lib/own", "usr/share/missing"]).unwrap();
        let text = |file: &str| fs::read_to_string(into.join(file)).ok();
        assert_eq!(text("usr/lib/own/program").as_deref(), Some("usr/lib/own/program"));
        assert_eq!(text("usr/lib/own/data").as_deref(), Some("usr/lib/own/data"));
        assert_eq!(text("usr/lib/x.so.1").as_deref(), Some("usr/lib/x.so.1.2"));
        assert_eq!(text("usr/lib/other.so"), None);
        // A name that only begins like a folder is not in it.
        assert!(
            is_below(&["usr/lib/own"], "usr/lib/own/data") && !is_below(&["usr/lib/own"], "usr/lib/owner")
        );
    }
}
