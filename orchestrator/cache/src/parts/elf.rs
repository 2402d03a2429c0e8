//! The needs of an ELF program at run time: its loader and its libraries.

use crate::{
    debian::deb,
    error::{CacheError, Result},
};
use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader},
};
use s2lab_os::outside::{self, kinds};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The dynamic linking information of a 64-bit ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dynamic {
    /// The program's loader (PT_INTERP), an absolute path.
    pub(crate) interpreter: Option<String>,
    /// DT_NEEDED, in order.
    pub(crate) needed: Vec<String>,
    /// DT_RUNPATH or DT_RPATH, split at `:`.
    pub(crate) run_path: Vec<String>,
}

/// Returns true if `bytes` are an ELF file for aarch64: 64 bits, little endian.
pub(crate) fn is_aarch64(bytes: &[u8]) -> bool {
    is_for(bytes, elf::EM_AARCH64)
}

/// Returns true if `bytes` are an ELF file for the machine that s2lab runs on.
pub(crate) fn is_this_machines(bytes: &[u8]) -> bool {
    is_for(bytes, if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 })
}

fn is_for(bytes: &[u8], machine: elf::Machine) -> bool {
    elf::FileHeader64::<Endianness>::parse(bytes).is_ok_and(|header| {
        header
            .endian()
            .is_ok_and(|endian| endian == Endianness::Little && header.e_machine(endian) == machine)
    })
}

/// Returns true for a library or a loader that glibc itself has. Programs that must run with the
/// machine's glibc take all of them from the machine.
pub(crate) fn is_of_glibc(library: &str) -> bool {
    const NAMES: [&str; 8] = [
        "libc.so",
        "libm.so",
        "libdl.so",
        "libpthread.so",
        "librt.so",
        "libresolv.so",
        "/lib64/ld-linux",
        "/lib/ld-linux",
    ];
    NAMES.iter().any(|name| library.starts_with(name))
}

/// Decodes `bytes`. A static program has an empty result.
pub(crate) fn read(bytes: &[u8]) -> Result<Dynamic, object::Error> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut dynamic = Dynamic::default();
    for segment in header.program_headers(endian, bytes)? {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            dynamic.interpreter = Some(text(path));
        }
    }
    let table = header.sections(endian, bytes)?.dynamic_table(endian, bytes)?;
    for entry in table.iter() {
        match entry.tag {
            elf::DT_NEEDED => dynamic.needed.push(text(table.string(entry)?)),
            elf::DT_RUNPATH | elf::DT_RPATH => {
                dynamic.run_path.extend(text(table.string(entry)?).split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(dynamic)
}

/// Returns the files that `programs` (paths below `root`) need, themselves included: the path at
/// which each must be found, and the file below `root` that belongs there. `folders` are the
/// loader's default ones. `outside` returns true for libraries that come from elsewhere.
pub(crate) fn closure(
    root: &Path,
    programs: &[&str],
    folders: &[&str],
    outside: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let missing = |library: &str, by: &str| CacheError::NoLibrary {
        library: library.to_owned(),
        needed_by: by.to_owned(),
    };
    let mut queue: Vec<(String, String)> = Vec::new();
    for program in programs {
        queue.push((
            (*program).to_owned(),
            deb::follow(root, program).ok_or_else(|| missing(program, "the lab"))?,
        ));
    }
    while let Some((place, file)) = queue.pop() {
        if found.insert(place.clone(), file.clone()).is_some() {
            continue;
        }
        let path = root.join(&file);
        let bytes = outside::read(&path, kinds::PROGRAM)?;
        let dynamic = read(&bytes).map_err(|e| CacheError::malformed(path.display(), e))?;
        let origin = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let run_path = dynamic.run_path.iter().map(|p| p.replace("$ORIGIN", &format!("/{origin}")));
        let run_path: Vec<String> = run_path.map(|p| p.trim_start_matches('/').to_owned()).collect();
        for library in &dynamic.needed {
            // The loader counts as loaded; programs name it as their interpreter.
            if library.starts_with("ld-linux") || outside(library) || !seen.insert(library.clone()) {
                continue;
            }
            let folders = run_path.iter().map(String::as_str).chain(folders.iter().copied());
            let hit = folders
                .map(|f| format!("{f}/{library}"))
                .find_map(|p| Some((p.clone(), deb::follow(root, &p)?)));
            queue.push(hit.ok_or_else(|| missing(library, &file))?);
        }
        if let Some(loader) = dynamic.interpreter.as_deref().filter(|l| !outside(l)) {
            let place = loader.trim_start_matches('/');
            let file = deb::follow(root, place).ok_or_else(|| missing(loader, &file))?;
            // The name of the loader in merged usr.
            let place = if deb::MERGED.iter().any(|m| place.starts_with(&format!("{m}/"))) {
                format!("usr/{place}")
            } else {
                place.to_owned()
            };
            queue.push((place, file));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::PathBuf};

    /// Returns this test program, which is a dynamic one on any machine that runs the tests with
    /// glibc.
    fn own_program() -> (String, Vec<String>) {
        let program = std::env::current_exe().unwrap();
        let triplet = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let folders = [triplet.as_str(), "usr/lib64", "usr/lib"].map(str::to_owned).to_vec();
        (program.to_str().unwrap().trim_start_matches('/').to_owned(), folders)
    }

    #[test]
    fn a_program_names_its_loader_and_libraries() {
        let dynamic = read(&fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(dynamic.interpreter.unwrap().contains("ld-linux"));
        assert!(dynamic.needed.contains(&"libc.so.6".to_owned()), "{:?}", dynamic.needed);
    }

    #[test]
    fn the_closure_is_complete_and_names_what_is_missing() {
        let (program, folders) = own_program();
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        let root = Path::new("/");
        let found = closure(root, &[&program], &folders, |_| false).unwrap();
        let names: Vec<&str> = found.keys().filter_map(|p| p.rsplit('/').next()).collect();
        assert_eq!(names.iter().filter(|n| n.starts_with("ld-linux")).count(), 1, "{names:?}");
        for file in found.values() {
            for library in read(&fs::read(root.join(file)).unwrap()).unwrap().needed {
                assert!(names.contains(&library.as_str()), "{library} of {file}");
            }
        }
        let error = closure(root, &[&program], &["nowhere"], |_| false).unwrap_err();
        assert!(matches!(error, CacheError::NoLibrary { .. }), "{error}");
        let alone = closure(root, &[&program], &[], |_| true).unwrap();
        assert_eq!(alone.keys().map(PathBuf::from).collect::<Vec<_>>(), [PathBuf::from(&program)]);
    }
}
