//! A VMA of s2lab's own kernel module, over a BAR or over pages of RAM (`images/module/s2lab_memory.c`). The host's
//! initramfs has the module, if s2lab has built the kernel.

use super::{Backing, Source, length, map_aligned, map_at, reserve};
use crate::pci::{Address, enable};
use crate::{fault, modules, root::Root};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use s2lab_protocol::{Bar, Failure, MODULE_DEVICE, MODULE_FILE, ModuleVma};
use std::ffi::c_void;
use std::fs::File;
use std::io::Write;
use std::ptr::NonNull;

/// Maps a BAR of a device without a driver.
pub(super) fn map(root: &Root, address: &Address, bar: Bar, vma: ModuleVma) -> Result<Backing, Failure> {
    enable(root, address)?;
    let (file, length) = (open(root, vma, Some((bar.start, bar.size)))?, length(bar)?);
    let base = match vma.private {
        false => map_aligned(&file, 0, length, &MODULE_DEVICE)?,
        true => {
            let failed = |why| fault::system("map", MODULE_DEVICE, why);
            let (base, _) = reserve(length).map_err(failed)?;
            let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
            // SAFETY: the range is reserved for this mapping.
            unsafe { mmap(base.as_ptr(), length, rights, flags, &file, 0) }.map_err(failed)?;
            base
        }
    };
    let source = Source { file: file.into(), offset: 0, _others: vec![], request: None };
    Ok(Backing { base, length, source: Some(source) })
}

/// Maps `length` bytes of RAM at `at`, where they are reserved. The file lives as long as the mapping.
pub(super) fn map_ram(
    root: &Root,
    vma: ModuleVma,
    at: NonNull<c_void>,
    length: usize,
) -> Result<(), Failure> {
    let file = open(root, vma, None)?;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe { map_at(at.as_ptr(), length, &file, 0) };
    mapped
        .map(drop)
        .map_err(|why| fault::system("map", format_args!("{length} bytes of {MODULE_DEVICE}"), why))
}

/// Opens the device of the module, which is loaded before, and says what is mapped.
fn open(root: &Root, vma: ModuleVma, range: Option<(u64, u64)>) -> Result<File, Failure> {
    let device = root.path("dev").join(MODULE_DEVICE);
    if !device.exists() {
        modules::load(root, MODULE_FILE, "").map_err(|why| fault::system("use", MODULE_DEVICE, why))?;
    }
    let failed = |doing: &str, why| fault::system(doing, device.display(), why);
    let file = File::options().read(true).write(true).open(&device);
    let mut file = file.map_err(|why| failed("open", why))?;
    let line = vma.line(range);
    file.write_all(line.as_bytes()).map_err(|why| failed(&format!("write {line:?} to"), why))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::tests::{ADDRESS, BAR_SIZE, fixture};
    use s2lab_protocol::{FailureKind, Pgprot, VmaKind};

    const VMA: ModuleVma =
        ModuleVma { kind: VmaKind::Pfnmap, pgprot: Pgprot::WriteBack, marked: true, private: false };

    /// Returns a root whose device is a file, and the file.
    fn device(folder: &std::path::Path) -> (Root, std::path::PathBuf) {
        let root = fixture(folder);
        let file = root.path("dev").join(MODULE_DEVICE);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, vec![b' '; BAR_SIZE as usize]).unwrap();
        (root, file)
    }

    fn begin(file: &std::path::Path) -> String {
        let text = String::from_utf8(std::fs::read(file).unwrap()).unwrap();
        text.split("  ").next().unwrap().to_owned()
    }

    #[test]
    fn the_module_gets_the_place_of_the_bar_and_a_private_write_stays_in_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let (root, file) = device(folder.path());
        let address = Address::parse(ADDRESS).unwrap();
        let bar = Bar { index: 2, start: 0x80_0000_0000, size: BAR_SIZE, prefetchable: true };
        for (private, arrives) in [(false, true), (true, false)] {
            let mapped = map(&root, &address, bar, ModuleVma { private, ..VMA }).unwrap();
            assert_eq!(begin(&file), format!("pfnmap write-back marked 8000000000 {BAR_SIZE:x}"));
            assert!(root.read(address.folder().join("enable")).unwrap().starts_with('1'));
            assert_eq!(mapped.address() % BAR_SIZE, 0);
            // SAFETY: within the mapping.
            unsafe { mapped.base.cast::<u8>().add(BAR_SIZE as usize - 1).write_volatile(b'x') };
            assert_eq!(std::fs::read(&file).unwrap().ends_with(b"x"), arrives);
            std::fs::write(&file, vec![b' '; BAR_SIZE as usize]).unwrap();
        }
    }

    #[test]
    fn ram_has_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let (root, file) = device(folder.path());
        let (at, length) = reserve(BAR_SIZE as usize).unwrap();
        map_ram(&root, VMA, at, length).unwrap();
        assert_eq!(begin(&file), "pfnmap write-back marked 0 0");
    }

    #[test]
    fn a_host_without_the_module_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (at, length) = reserve(BAR_SIZE as usize).unwrap();
        let failure = map_ram(&Root::at(folder.path()), VMA, at, length).unwrap_err();
        assert_eq!(failure.kind, FailureKind::System);
        let why = "cannot use s2lab-memory: module s2lab_memory.ko did not load: No such file";
        assert!(failure.message.starts_with(why), "{}", failure.message);
    }
}
