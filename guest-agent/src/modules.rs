//! Loads the kernel modules that the initramfs brings: `/modules/LIST`, one file name a line, in
//! load order.

use crate::root::Root;
use std::ffi::CString;

/// A module that did not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module {name} did not load: {why}")]
pub(crate) struct ModuleError {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Loads all modules of the list and returns those that failed. An initramfs without a list has
/// none to load. A module that is already loaded, or built in, counts as loaded.
pub(crate) fn load_all(root: &Root, command_line: &str) -> Vec<ModuleError> {
    let Ok(list) = root.read("modules/LIST") else { return Vec::new() };
    list.lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .filter_map(|name| load(root, name, command_line).err())
        .collect()
}

/// Loads the module in the file `name` of the folder.
pub(crate) fn load(root: &Root, name: &str, command_line: &str) -> Result<(), ModuleError> {
    let error = |why: String| ModuleError { name: name.to_owned(), why };
    let file = std::fs::File::open(root.path("modules").join(name)).map_err(|why| error(why.to_string()))?;
    let options = CString::new(options(name, command_line)).map_err(|why| error(why.to_string()))?;
    match rustix::system::finit_module(&file, &options, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(why) => Err(error(why.to_string())),
    }
}

/// Returns the options for the module in file `name` on the kernel command line
/// (`vfio_iommu_type1.allow_unsafe_interrupts=1`). The kernel itself passes them to built-in code
/// only; for a module its loader has to.
fn options(name: &str, command_line: &str) -> String {
    let plain = |text: &str| text.replace('-', "_");
    let module = plain(name.strip_suffix(".ko").unwrap_or(name));
    let of_module = |word: &str| {
        let (key, _) = word.split_once('=').unwrap_or((word, ""));
        let (owner, _) = key.split_once('.')?;
        (plain(owner) == module).then(|| word[owner.len() + 1..].to_owned())
    };
    command_line.split_whitespace().filter_map(of_module).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_to_their_module_only() {
        let line = "root=/dev/a.b vfio-iommu-type1.allow_unsafe_interrupts=1 vfio.x=y=z.w vfio_iommu_type1.n=a.b flag";
        assert_eq!(options("vfio_iommu_type1.ko", line), "allow_unsafe_interrupts=1 n=a.b");
        assert_eq!(options("vfio.ko", line), "x=y=z.w");
        assert_eq!(options("vfio-pci.ko", line), "");
    }

    #[test]
    fn a_module_that_is_listed_but_absent_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(load_all(&root, ""), [], "no list, nothing to load");
        std::fs::create_dir(folder.path().join("modules")).unwrap();
        std::fs::write(folder.path().join("modules/LIST"), "\n gone.ko \n").unwrap();
        let failed = load_all(&root, "");
        assert_eq!(failed.len(), 1);
        assert!(failed[0].to_string().starts_with("module gone.ko did not load: "), "{}", failed[0]);
    }
}
