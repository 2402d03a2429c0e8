//! The modules below one folder, and the choice among several of one name.

use super::{Loaded, Module, ModuleInfo, modinfo, normal, order};
use crate::error::{CacheError, Result};
use s2lab_os::outside::{self, kinds, packed};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The list of built-in modules, in the folder of a release.
const BUILT_IN: &str = "modules.builtin";
/// Modules in this folder are taken before others (kmod 30, depmod.d(5): the search order is
/// `updates built-in` by default).
const UPDATES: &str = "updates";

/// The modules below one folder.
#[derive(Debug)]
pub struct Modules {
    place: PathBuf,
    /// The release of the kernel that loads them, if it is known.
    release: Option<String>,
    /// The files of each name, in the order of their paths.
    files: BTreeMap<String, Vec<PathBuf>>,
    /// The built-in modules. None without a `modules.builtin`: then a module without a file is
    /// taken to be built in.
    built_in: Option<BTreeSet<String>>,
}

impl Modules {
    /// Finds `*.ko`, `*.ko.xz`, `*.ko.zst`, `*.ko.gz` and `modules.builtin` below `dir`, at any
    /// depth. Links to folders are not followed (`build` and `source` in an installed tree lead
    /// elsewhere). `release` is the kernel's, as `uname -r` prints it.
    ///
    /// # Errors
    /// [`CacheError::Given`] for a folder with the lists of several releases, none of them the
    /// kernel's.
    pub fn scan(dir: &Path, release: Option<&str>) -> Result<Self> {
        let (mut files, mut lists) = (BTreeMap::<_, Vec<_>>::new(), vec![]);
        let mut queue = vec![dir.to_owned()];
        while let Some(at) = queue.pop() {
            for child in fs::read_dir(&at).map_err(CacheError::io("cannot list", &at))? {
                let child = child.map_err(CacheError::io("cannot list", &at))?;
                let path = child.path();
                let kind = child.file_type().map_err(CacheError::io("cannot look at", &path))?;
                let Some(name) = child.file_name().to_str().map(str::to_owned) else { continue };
                if kind.is_dir() {
                    queue.push(path);
                } else if name == BUILT_IN {
                    lists.push(path);
                } else if let Some(name) = module_name(&name) {
                    files.entry(name).or_default().push(path);
                }
            }
        }
        files.values_mut().for_each(|paths: &mut Vec<PathBuf>| paths.sort());
        let built_in = match list_of(release, lists).map_err(|why| CacheError::given(dir, why))? {
            Some(list) => Some(parse_built_in(&outside::read_text(&list, kinds::MODULE_LIST)?).collect()),
            None => None,
        };
        Ok(Self { place: dir.to_owned(), release: release.map(str::to_owned), files, built_in })
    }

    /// Returns `wanted` and all their dependencies, each after its own dependencies. Built-in
    /// modules are left out.
    ///
    /// # Errors
    /// [`CacheError::NoModule`] for a dependency that is neither a file nor in `modules.builtin`;
    /// [`CacheError::Given`] for modules of another release or machine, or two of equal rank; a
    /// circle of dependencies; damaged files.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Loaded> {
        let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut absent = Vec::new();
        let order = order(wanted, |name, needed_by| {
            if self.built_in.as_ref().is_some_and(|built_in| built_in.contains(name)) {
                return Ok(None);
            }
            if let Some((content, mut info)) = self.taken(name)? {
                info.soft_depends.retain(|soft| self.files.contains_key(soft));
                contents.insert(name.to_owned(), content);
                return Ok(Some(info));
            }
            match (&self.built_in, needed_by) {
                // If it is nowhere after all, the agent names the missing facility.
                (None, _) => Ok(None),
                (Some(_), None) => {
                    absent.push(name.to_owned());
                    Ok(None)
                }
                (Some(_), Some(needed_by)) => Err(CacheError::NoModule {
                    module: name.to_owned(),
                    place: self.place.display().to_string(),
                    needed_by: Some(needed_by.to_owned()),
                }),
            }
        })?;
        let order = order.into_iter();
        let modules = order.filter_map(|name| contents.remove(&name).map(|content| Module { name, content }));
        Ok(Loaded { modules: modules.collect(), absent })
    }

    /// Returns the module of this name: of those that the kernel can load, the one below `updates/`
    /// before others. Returns None if there is no file.
    fn taken(&self, name: &str) -> Result<Option<(Vec<u8>, ModuleInfo)>> {
        let Some(paths) = self.files.get(name) else { return Ok(None) };
        let (mut fits, mut unfit) = (vec![], None);
        for path in paths {
            let content = read_module(path)?;
            match self.fits(&content) {
                Ok(info) => fits.push((rank(&self.place, path), path, content, info)),
                Err(why) => unfit = unfit.or(Some((path, why))),
            }
        }
        fits.sort_by_key(|(rank, ..)| *rank);
        let mut fits = fits.into_iter();
        let Some((rank, path, content, info)) = fits.next() else {
            // A missing file has no path.
            return match unfit {
                Some((path, why)) => Err(CacheError::given(path, why)),
                None => Ok(None),
            };
        };
        match fits.find(|(other, _, bytes, _)| *other == rank && *bytes != content) {
            Some((_, other, ..)) => {
                let why = format!("{} has another module `{name}`: which of the two?", other.display());
                Err(CacheError::given(path, why))
            }
            None => Ok(Some((content, info))),
        }
    }

    /// Returns the description in a module, if the kernel can load it.
    fn fits(&self, content: &[u8]) -> Result<ModuleInfo, String> {
        let info = modinfo(content)?;
        match (&self.release, &info.release) {
            (Some(kernel), Some(module)) if kernel != module => {
                Err(format!("it is of release {module}, and the kernel is {kernel}"))
            }
            _ => Ok(info),
        }
    }

    /// Checks a folder of which nothing is taken: it may be empty, and its list may be another
    /// kernel's. One module shows that.
    ///
    /// # Errors
    /// [`CacheError::Given`] if it has neither modules nor a list, or if its first module is not
    /// the kernel's.
    pub fn is_of_the_kernel(&self) -> Result<()> {
        match (self.files.values().flatten().next(), &self.built_in) {
            (Some(path), _) => {
                self.fits(&read_module(path)?).map(drop).map_err(|why| CacheError::given(path, why))
            }
            (None, Some(_)) => Ok(()),
            (None, None) => {
                let why = format!("it has no kernel modules and no {BUILT_IN}");
                Err(CacheError::given(&self.place, why))
            }
        }
    }
}

/// Returns the list in the folder that has the release's name, or the only one.
fn list_of(release: Option<&str>, mut lists: Vec<PathBuf>) -> Result<Option<PathBuf>, String> {
    let folder = |list: &PathBuf| {
        list.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
    };
    if let Some(own) = lists.iter().find(|list| release.is_some() && folder(list).as_deref() == release) {
        return Ok(Some(own.clone()));
    }
    match lists.len() {
        0 | 1 => Ok(lists.pop()),
        _ => {
            let mut folders: Vec<_> = lists.iter().filter_map(folder).collect();
            folders.sort();
            let kernel = release.unwrap_or("of an unknown release");
            Err(format!("it has the modules of {}, and the kernel is {kernel}", folders.join(" and ")))
        }
    }
}

/// Returns the rank of a path; 0 is the best.
fn rank(place: &Path, path: &Path) -> u8 {
    let below = path.strip_prefix(place).unwrap_or(path);
    u8::from(!below.components().any(|part| part.as_os_str() == UPDATES))
}

/// Decodes lines like `kernel/drivers/virtio/virtio.ko`.
fn parse_built_in(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| module_name(line.trim().rsplit('/').next()?))
}

/// Returns the name of a module's file: `vfio-pci.ko.xz` is the module `vfio_pci`.
fn module_name(file: &str) -> Option<String> {
    let stem = file.split_once(".ko").filter(|(_, rest)| matches!(*rest, "" | ".xz" | ".zst" | ".gz"))?.0;
    (!stem.is_empty()).then(|| normal(stem))
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let raw = outside::read(path, kinds::MODULE)?;
    packed::unpacked(raw, kinds::MODULE, 1).map_err(|why| CacheError::malformed(path.display(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, write};
    use tempfile::TempDir;

    const RELEASE: &str = "6.12.95-arm64";

    /// Returns a module's object. `text` is the rest of its `.modinfo`.
    fn object(architecture: Architecture, release: &str, text: &str) -> Vec<u8> {
        let mut object = write::Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
        let section = object.add_section(vec![], b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        let info = format!("{text}\0vermagic={release} SMP preempt mod_unload aarch64\0");
        object.append_section_data(section, info.as_bytes(), 1);
        object.write().unwrap()
    }

    fn module(dir: &TempDir, path: &str, release: &str, text: &str) {
        file(dir, path, &object(Architecture::Aarch64, release, text));
    }

    fn file(dir: &TempDir, path: &str, bytes: &[u8]) {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn loaded(dir: &TempDir) -> Result<Loaded> {
        let modules = Modules::scan(dir.path(), Some(RELEASE))?;
        let loaded = modules.load_order(&["vfio_pci"])?;
        if loaded.modules.is_empty() {
            modules.is_of_the_kernel()?;
        }
        Ok(loaded)
    }

    /// Returns the text of the module that is taken, or the error without the folder's name.
    fn taken(dir: &TempDir) -> Result<Vec<String>, String> {
        let place = format!("{}/", dir.path().display());
        let loaded = loaded(dir).map_err(|error| error.to_string().replace(&place, ""))?;
        let description = |module: &Module| {
            let text = String::from_utf8_lossy(&module.content).into_owned();
            let text = text.split_once("description=").unwrap().1;
            text.split('\0').next().unwrap().to_owned()
        };
        Ok(loaded.modules.iter().map(description).collect())
    }

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_module_of_the_kernels_release_is_taken_of_several() {
        let dir = folder();
        module(&dir, "6.1.0/kernel/vfio-pci.ko", "6.1.0", "description=old");
        module(&dir, "6.12.95-arm64/kernel/vfio-pci.ko", RELEASE, "description=own");
        module(&dir, "7.0.0/kernel/vfio-pci.ko", "7.0.0", "description=new");
        assert_eq!(taken(&dir), Ok(vec!["own".into()]));
        for release in ["6.1.0", "6.12.95-arm64"] {
            file(&dir, &format!("{release}/modules.builtin"), b"");
        }
        assert_eq!(taken(&dir), Ok(vec!["own".into()]));
        let other = Modules::scan(dir.path(), Some("6.13.0")).unwrap_err().to_string();
        assert!(
            other.ends_with("it has the modules of 6.1.0 and 6.12.95-arm64, and the kernel is 6.13.0"),
            "{other}"
        );
    }

    #[test]
    fn updates_come_before_others_and_two_alike_are_one() {
        let dir = folder();
        module(&dir, "kernel/vfio-pci.ko", RELEASE, "description=first");
        module(&dir, "updates/dkms/vfio-pci.ko", RELEASE, "description=mine");
        assert_eq!(taken(&dir), Ok(vec!["mine".into()]));
        module(&dir, "updates/vfio-pci.ko", RELEASE, "description=mine");
        assert_eq!(taken(&dir), Ok(vec!["mine".into()]), "the same bytes");
        module(&dir, "updates/vfio_pci.ko", RELEASE, "description=another");
        let why = taken(&dir).unwrap_err();
        assert!(
            why.ends_with("updates/vfio_pci.ko has another module `vfio_pci`: which of the two?"),
            "{why}"
        );
    }

    #[test]
    fn what_is_built_in_has_no_module() {
        let dir = folder();
        module(&dir, "kernel/vfio-pci.ko", RELEASE, "description=stale");
        file(&dir, "modules.builtin", b"kernel/drivers/vfio/pci/vfio-pci.ko\n");
        assert_eq!(taken(&dir), Ok(vec![]));
        fs::remove_file(dir.path().join("kernel/vfio-pci.ko")).unwrap();
        assert_eq!(taken(&dir), Ok(vec![]), "a list is enough");
    }

    #[test]
    fn foreign_modules_are_errors_that_name_one() {
        let dir = folder();
        assert!(taken(&dir).unwrap_err().ends_with("it has no kernel modules and no modules.builtin"));
        module(&dir, "kernel/vfio-pci.ko", "6.1.0", "");
        let of_release = "kernel/vfio-pci.ko: it is of release 6.1.0, and the kernel is 6.12.95-arm64";
        assert_eq!(taken(&dir), Err(of_release.into()));
        file(&dir, "kernel/vfio-pci.ko", &object(Architecture::X86_64, RELEASE, ""));
        let of_machine = "kernel/vfio-pci.ko: it is for ELF machine 62, not for arm64 (183)";
        assert_eq!(taken(&dir), Err(of_machine.into()));
        let depends: String = (0..=1000).map(|n| format!("m{n},")).collect();
        module(&dir, "kernel/vfio-pci.ko", RELEASE, &format!("depends={depends}"));
        let of_many = "kernel/vfio-pci.ko: it depends on 1001 modules; at most 1000 are looked for";
        assert_eq!(taken(&dir), Err(of_many.into()));
        // Nothing is taken of it, because its list shows that everything is built in.
        let dir = folder();
        file(&dir, "modules.builtin", b"kernel/drivers/vfio/pci/vfio-pci.ko\n");
        module(&dir, "kernel/ext4.ko", "6.1.0", "");
        assert_eq!(
            taken(&dir),
            Err("kernel/ext4.ko: it is of release 6.1.0, and the kernel is 6.12.95-arm64".into())
        );
    }

    #[test]
    fn only_a_list_of_what_is_built_in_tells_that_a_module_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let order = || Modules::scan(dir.path(), None).unwrap().load_order(&["vfio_pci"]);
        module(&dir, "other.ko", RELEASE, "");
        assert_eq!(order().unwrap(), Loaded::default());
        fs::write(dir.path().join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        assert_eq!(order().unwrap().absent, ["vfio_pci"]);
        fs::write(dir.path().join("modules.builtin"), "kernel/drivers/vfio/pci/vfio-pci.ko\n").unwrap();
        assert_eq!(order().unwrap(), Loaded::default());
    }

    #[test]
    fn names_of_files() {
        for (file, name) in [
            ("vfio-pci.ko.xz", Some("vfio_pci")),
            ("a.ko", Some("a")),
            ("a.ko.zst", Some("a")),
            ("a.kox", None),
            ("a.mod", None),
            (".ko", None),
        ] {
            assert_eq!(module_name(file).as_deref(), name, "{file}");
        }
    }
}
