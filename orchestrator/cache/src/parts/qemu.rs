//! The emulator: the machine's own, else Debian's, unpacked.

use crate::{
    Cache, Qemu,
    debian::{
        apt::{self, Deb, Question, Scope, Session},
        deb, suites,
    },
    error::{CacheError, Result},
    objects::object::{self, Building},
    parts::{elf, programs, userland::upstream_version},
};
use s2lab_os::child::{
    self,
    run::{self, RunError, find_on_path},
};
use serde::Serialize;
use std::{fs, path::PathBuf};

/// The first version whose gdbstub serves EL2's registers in the form that s2lab reads, and that
/// has `mapped-ram`.
pub const OLDEST: (u32, u32) = (10, 0);
const PROGRAM: &str = "qemu-system-aarch64";
const IN_PACKAGE: &str = "usr/bin/qemu-system-aarch64";
/// The packages; `ipxe-qemu` has the option ROMs of network devices.
const PACKAGES: [&str; 2] = ["qemu-system-arm", "ipxe-qemu"];
const ROMS: [&str; 2] = ["usr/share/qemu", "usr/lib/ipxe/qemu"];

#[derive(Serialize)]
struct Inputs<'a> {
    debs: &'a [Deb],
}

/// The names of the questions to the archive: for people, and part of the key of a kept answer.
const WHAT: &str = "QEMU";
const NEWEST: &str = "the newest QEMU";

impl Cache {
    pub(crate) fn qemu_blocking(&self) -> Result<Qemu> {
        if let Some(own) = self.machine_qemu()? {
            return Ok(own);
        }
        let architecture = apt::machine_architecture();
        let scope = Scope::new(&suites::ALL, &[architecture])?;
        let debs = self.apt.resolve(question(WHAT), &scope, closure)?;
        self.unpacked(architecture, WHAT, &scope, &debs)
    }

    /// Returns the newest that the archive has, whatever QEMU the machine has.
    pub(crate) fn newest_qemu_blocking(&self) -> Result<Qemu> {
        let (debs, scope) = self.apt.resolve_in_first(question(NEWEST), &newest_scopes()?, closure)?;
        let name = format!("newest-{}", apt::machine_architecture());
        self.unpacked(&name, NEWEST, &scope, &debs)
    }

    pub(crate) fn move_newest_qemu_blocking(&self) -> Result<()> {
        self.apt.resolve_anew_in_first(question(NEWEST), &newest_scopes()?, closure)
    }

    /// Returns the QEMU of these packages, unpacked with its libraries.
    fn unpacked(&self, name: &str, what: &str, scope: &Scope, debs: &[Deb]) -> Result<Qemu> {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let object = self.objects.get("qemu", name, &Inputs { debs }, |building| {
            make(building, debs, &self.apt.fetch(what, scope, debs)?, &triplet)
        })?;
        // The cache's loader runs with the cache's libraries, glibc among them. The machine's may
        // be older, and the two cannot be mixed. LD_LIBRARY_PATH would reach QEMU's children too.
        let mut args =
            vec!["--library-path".into(), object.path.join("usr/lib").join(&triplet).into_os_string()];
        args.push(object.path.join(IN_PACKAGE).into_os_string());
        for dir in ROMS {
            args.extend(["-L".into(), object.path.join(dir).into_os_string()]);
        }
        Ok(Qemu {
            program: object.path.join(object.fact("loader")?),
            env: Vec::new(),
            args,
            version: object.fact("version")?.to_owned(),
            packages: object.manifest.packages.clone(),
        })
    }

    /// Returns the machine's own, if it is new enough.
    fn machine_qemu(&self) -> Result<Option<Qemu>> {
        let Some(program) = find_on_path(PROGRAM) else { return Ok(None) };
        let mut command = child::command(&program, child::QEMU);
        command.arg("--version");
        let text = match run::ask(command, "print its version", &|| self.progress.cancelled()) {
            Ok(text) => text,
            // An emulator that cannot even print its version is not usable; the cache has another.
            Err(RunError::Failed { .. } | RunError::NoProgram { .. }) => return Ok(None),
            Err(RunError::Stalled { .. }) => {
                self.progress
                    .step(&format!("{} does not print its version: it is not taken", program.display()));
                return Ok(None);
            }
            Err(other) => return Err(other.into()),
        };
        let Some(version) = parse_version(&String::from_utf8_lossy(&text)) else { return Ok(None) };
        Ok(new_enough(&version).then(|| Qemu {
            program,
            env: Vec::new(),
            args: Vec::new(),
            version,
            packages: Vec::new(),
        }))
    }
}

fn question(what: &str) -> Question<'_> {
    Question { what, packages: &PACKAGES, without: &[] }
}

fn newest_scopes() -> Result<Vec<Scope>> {
    let scope = |suites: &&[&str]| Scope::new(suites, &[apt::machine_architecture()]);
    suites::NEWEST.iter().map(scope).collect()
}

fn closure(apt: &Session<'_>) -> Result<Vec<Deb>> {
    apt.closure(&PACKAGES.map(str::to_owned))
}

fn make(building: &mut Building, debs: &[Deb], files: &[PathBuf], triplet: &str) -> Result<()> {
    let root = building.dir.join("root");
    fs::create_dir(&root).map_err(CacheError::io("cannot create", &root))?;
    for file in files {
        deb::unpack(file, &root, |path| {
            let rom = ROMS.iter().any(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')));
            path == IN_PACKAGE
                || path.starts_with("usr/lib") && path.contains(".so")
                || rom && (path.ends_with(".rom") || path.ends_with(".bin"))
        })?;
    }
    let libraries = format!("usr/lib/{triplet}");
    let gcc = format!("{libraries}/libgcc_s.so.1");
    let closure = elf::closure(&root, &[IN_PACKAGE, &gcc], &[&libraries, "usr/lib"], |_| false)?;
    // `--library-path` covers all files but possibly the loader.
    programs::take(&root, &building.dir, &closure, &ROMS)?;
    let loader = closure.keys().find(|k| k.rsplit('/').next().is_some_and(|n| n.starts_with("ld-linux")));
    let loader = loader.ok_or_else(|| CacheError::malformed(IN_PACKAGE, "it names no loader"))?;
    object::remove_tree(&root)?;
    building.facts.insert("loader".to_owned(), loader.clone());
    building.facts.insert("version".to_owned(), upstream_version(debs, "qemu-system-arm")?);
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

/// Returns `10.0.2` of `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
pub(crate) fn parse_version(text: &str) -> Option<String> {
    let rest = text.lines().next()?.split_once("version ")?.1;
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    (!version.is_empty()).then_some(version)
}

pub(crate) fn new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version = |text: &str| parse_version(text);
        assert_eq!(
            version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright").unwrap(),
            "10.0.2"
        );
        assert_eq!(version("QEMU emulator version 9.2.50 (v9.2.0-12-gabc)").unwrap(), "9.2.50");
        assert_eq!(version("something else"), None);
        for (version, good) in
            [("10.0.0", true), ("11.1", true), ("9.2.4", false), ("100.0", true), ("10", false), ("", false)]
        {
            assert_eq!(new_enough(version), good, "{version}");
        }
    }
}
