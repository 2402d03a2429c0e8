//! Preflight: the check that kernel, QEMU and machine have everything that a cell needs. It names
//! what is missing at once, instead of a deadline minutes later.

use super::kernel::{memory_module::ModuleLack, ready::KernelFiles, selftests::SelftestLack};
use crate::host::{self, Lack as HostLack};
use s2lab_model::{
    event::{PlannedCell, StopCause},
    kconfig::{self, Lack, Options, PagesLack},
    scenario,
};
use s2lab_os::{
    limits::memory::{Available, Bound},
    size::Size,
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// The bytes that the state folder's file system must have left. Consoles, table pages and reports
/// of a cell are some MiB, but a flooded console may fill more.
pub const STATE_SPACE: u64 = 256 << 20;

/// A missing requirement of a cell.
#[derive(Debug)]
pub enum Finding {
    /// Missing options of the kernel under test.
    Options(Vec<Lack>),
    /// Missing options that the scenario asks for, each with its reason.
    Asked(Vec<String>),
    /// The CPU does not have the pages of the kernel.
    Pages(PagesLack),
    /// A selftest of the kernel's tree.
    Selftest(SelftestLack),
    /// s2lab's own kernel module.
    Module(ModuleLack),
    /// Something that the host lacks for any cell.
    Host(HostLack),
    Memory {
        /// Bytes.
        needed: u64,
        available: Available,
    },
    Space {
        /// Bytes.
        needed: u64,
        free: u64,
    },
    /// The archive of the kernel's modules cannot be read.
    Modules { path: PathBuf, source: io::Error },
}

impl Finding {
    /// Returns the cause. Missing parts of the kernel and of QEMU are not failures of the lab.
    pub fn cause(&self) -> StopCause {
        match self {
            Finding::Selftest(SelftestLack::NotBuilt(_)) | Finding::Module(ModuleLack::NotBuilt(_)) => {
                StopCause::Lab
            }
            Finding::Options(_)
            | Finding::Asked(_)
            | Finding::Pages(_)
            | Finding::Selftest(_)
            | Finding::Module(_)
            | Finding::Host(_) => StopCause::Lacking,
            Finding::Memory { .. } | Finding::Space { .. } | Finding::Modules { .. } => StopCause::Lab,
        }
    }

    /// Returns a hint.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Finding::Options(_) => {
                "build the kernel with these options; one that is =m needs its module, see `s2lab run --modules`"
            }
            Finding::Asked(_) => "the scenario's `needs` asks for them: run it on another kernel",
            Finding::Pages(_) => "choose another `cpu` with --set host.cpu=CPU, or another kernel",
            Finding::Selftest(lack) => return lack.hint(),
            Finding::Module(lack) => return lack.hint(),
            Finding::Host(lack) => lack.hint,
            Finding::Memory { available: Available { bound: Bound::ControlGroup, .. }, .. } => {
                "raise `memory.max` and `memory.high` of the control group and those above it, run with --jobs 1, or give the scenario's host less `memory`"
            }
            Finding::Memory { .. } => {
                "end other programs, run with --jobs 1, or give the scenario's host less `memory`"
            }
            Finding::Space { .. } => {
                "make room on the file system of the state folder, or give another with --out"
            }
            Finding::Modules { .. } => return None,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Options(lacks) => {
                let lacks: Vec<_> = lacks.iter().map(ToString::to_string).collect();
                write!(f, "the kernel lacks {}", lacks.join(", "))
            }
            Finding::Asked(lacks) => write!(f, "the kernel lacks {}", lacks.join(", ")),
            Finding::Pages(lack) => lack.fmt(f),
            Finding::Selftest(lack) => write!(f, "{lack}"),
            Finding::Module(lack) => write!(f, "{lack}"),
            Finding::Host(lack) => f.write_str(&lack.what),
            Finding::Memory { needed, available } => {
                let (needed, Available { bytes, bound }) = (Size(*needed), available);
                write!(f, "the emulated host takes {needed} of memory, and {bound} has {} left", Size(*bytes))
            }
            Finding::Space { needed, free } => {
                write!(
                    f,
                    "a run may write {}, and the state folder has room for {}",
                    Size(*needed),
                    Size(*free)
                )
            }
            Finding::Modules { path, source } => write!(f, "cannot read {}: {source}", path.display()),
        }
    }
}

/// The free resources of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub memory: Available,
    /// The free bytes on the file system with the run's folder.
    pub space: u64,
}

impl Room {
    /// Returns those of this machine at this moment.
    pub fn of_machine(folder: &Path) -> io::Result<Self> {
        Ok(Self { memory: Available::now()?, space: free(folder)? })
    }
}

/// The needs of a cell in this machine.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// The host that boots for it. None: it runs already.
    pub memory: Option<&'a scenario::Host>,
    /// The bytes that the run's file system must have left.
    pub space: u64,
}

/// Returns the bytes that an ordinary user can still write on the file system of `folder`.
pub fn free(folder: &Path) -> io::Result<u64> {
    let of = rustix::fs::statvfs(folder)?;
    Ok(of.f_bavail.saturating_mul(of.f_frsize))
}

/// Checks the requirements of the cell, and returns the first that is missing, or the known options
/// of the kernel.
pub fn check(
    planned: &PlannedCell,
    kernel: &KernelFiles,
    host: Option<HostLack>,
    room: Room,
    needs: Needs<'_>,
) -> Result<Options, Finding> {
    if let Some(lack) = host {
        return Err(Finding::Host(lack));
    }
    if let Some(lack) = kernel.selftests.lack(&planned.resolved) {
        return Err(Finding::Selftest(lack));
    }
    let delivered = kernel
        .boot
        .delivered()
        .map_err(|source| Finding::Modules { path: kernel.boot.modules.clone(), source })?;
    if let Some(config) = &kernel.config {
        if let Some(lack) = kconfig::pages_without_cpu(&config.config, &planned.resolved) {
            return Err(Finding::Pages(lack));
        }
        let asked = kconfig::asked(&config.config, &planned.resolved, &delivered);
        if !asked.is_empty() {
            return Err(Finding::Asked(asked));
        }
        let lacks = kconfig::lacking(&config.config, &planned.resolved, &delivered);
        if !lacks.is_empty() {
            return Err(Finding::Options(lacks));
        }
    }
    // A kernel without CONFIG_MODULES has no module either.
    if let Some(lack) = kernel.module.lack(&planned.resolved) {
        return Err(Finding::Module(lack));
    }
    let lacks = kconfig::absent(&kernel.boot.absent, &planned.resolved);
    if !lacks.is_empty() {
        return Err(Finding::Options(lacks));
    }
    let needed = needs.memory.map_or(0, host::memory);
    if room.memory.bytes < needed {
        return Err(Finding::Memory { needed, available: room.memory });
    }
    if room.space < needs.space {
        return Err(Finding::Space { needed: needs.space, free: room.space });
    }
    Ok(Options::new(kernel.config.as_ref().map(|config| config.config.clone()), &delivered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::kernel::{
        memory_module::MemoryModule,
        ready::{Bootable, KernelConfig, KernelSymbols},
        selftests::Selftests,
    };
    use s2lab_cache::parts::initramfs::{Node, append};
    use s2lab_model::{cell::ResolvedCell, kconfig::Config, kernel::Traits, scenario::load, steps::Suite};

    const fn machine(bytes: u64) -> Available {
        Available { bytes, bound: Bound::Machine }
    }

    const ROOM: Room = Room { memory: machine(64 << 30), space: 64 << 30 };

    fn planned() -> PlannedCell {
        let text = include_str!("../../../scenarios/vfio-pci-bar.yaml");
        let scenario = load("vfio-pci-bar.yaml", text).unwrap();
        PlannedCell {
            key: "s@k".parse().unwrap(),
            kernel: "k".into(),
            about: String::new(),
            repeat: vec![],
            resolved: ResolvedCell::of(&scenario, Traits::Exactly([].into())),
        }
    }

    /// Makes a kernel that has all options but `off`, those in `modules` as a module, of which
    /// `files` are delivered.
    fn kernel(folder: &Path, off: &str, modules: &[&str], files: &[&str]) -> KernelFiles {
        let mut text = "CONFIG_ARM64=y\n".to_owned();
        for need in kconfig::needs(&planned().resolved).into_iter().filter(|need| need.option != off) {
            let value = if modules.contains(&need.option) { 'm' } else { 'y' };
            text += &format!("CONFIG_{}={value}\n", need.option);
        }
        let mut archive = vec![];
        let names: Vec<_> = files.iter().map(|file| format!("modules/{file}.ko")).collect();
        let members = names.iter().map(|name| (name.as_str(), Node::File { mode: 0o644, data: b"module" }));
        append(&mut archive, std::iter::once(("modules", Node::Directory { mode: 0o755 })).chain(members))
            .unwrap();
        let path = folder.join("modules.cpio");
        std::fs::write(&path, archive).unwrap();
        KernelFiles {
            boot: Bootable {
                image: "Image".into(),
                sha256: String::new(),
                modules: path,
                absent: vec![],
                package: None,
            },
            config: Some(KernelConfig { config: Config::parse(&text).unwrap(), sha256: String::new() }),
            symbols: KernelSymbols::default(),
            selftests: Selftests::default(),
            module: MemoryModule::None,
        }
    }

    fn of(planned: &PlannedCell) -> Needs<'_> {
        Needs { memory: Some(&planned.resolved.host), space: STATE_SPACE }
    }

    fn found(kernel: &KernelFiles, room: Room) -> Option<(StopCause, String)> {
        let planned = planned();
        check(&planned, kernel, None, room, of(&planned))
            .err()
            .map(|found| (found.cause(), found.to_string()))
    }

    #[test]
    fn each_lack_has_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let whole = kernel(dir.path(), "", &[], &[]);
        assert_eq!(found(&whole, ROOM), None);
        let (cause, what) = found(&kernel(dir.path(), "KVM", &[], &[]), ROOM).unwrap();
        assert_eq!(
            (cause, &*what),
            (StopCause::Lacking, "the kernel lacks CONFIG_KVM (the host runs guests)")
        );
        let lack = HostLack { what: "QEMU is old".into(), hint: "take a newer one" };
        let old = check(&planned(), &whole, Some(lack), ROOM, of(&planned())).unwrap_err();
        assert_eq!((old.cause(), &*old.to_string()), (StopCause::Lacking, "QEMU is old"));
        assert_eq!(old.hint(), Some("take a newer one"));
        let (cause, what) = found(&whole, Room { memory: machine(100 << 20), ..ROOM }).unwrap();
        assert!(cause == StopCause::Lab && what.ends_with("this machine has 100 MiB left"), "{what}");
        // A host that runs already needs no more.
        let needs = Needs { memory: None, space: STATE_SPACE };
        assert!(check(&planned(), &whole, None, Room { memory: machine(100 << 20), ..ROOM }, needs).is_ok());
        let (cause, what) = found(&whole, Room { space: 20 << 20, ..ROOM }).unwrap();
        assert!(cause == StopCause::Lab && what.ends_with("room for 20 MiB"), "{what}");
    }

    /// A kernel may lack options that a scenario asks for, and have pages that the CPU does not have.
    #[test]
    fn a_kernel_may_lack_what_the_scenario_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = kernel(dir.path(), "", &[], &[]);
        let mut planned = planned();
        planned.resolved.needs = [("IOMMUFD".to_owned(), "its cdev is used".to_owned())].into();
        let lack = |kernel: &KernelFiles, planned: &PlannedCell| {
            check(planned, kernel, None, ROOM, of(planned))
                .err()
                .map(|found| (found.cause(), found.to_string()))
        };
        let due = (StopCause::Lacking, "the kernel lacks CONFIG_IOMMUFD (its cdev is used)".to_owned());
        assert_eq!(lack(&kernel, &planned), Some(due));
        let with = |options: &str| {
            let needs = kconfig::needs(&planned.resolved);
            let all: String = needs.into_iter().map(|need| format!("CONFIG_{}=y\n", need.option)).collect();
            let config = Config::parse(&format!("CONFIG_ARM64=y\n{all}CONFIG_IOMMUFD=y\n{options}")).unwrap();
            KernelFiles { config: Some(KernelConfig { config, sha256: String::new() }), ..kernel.clone() }
        };
        assert_eq!(lack(&with(""), &planned), None);
        let pages = with("CONFIG_ARM64_16K_PAGES=y\n");
        assert_eq!(lack(&pages, &planned), None, "neoverse-v1 has them");
        planned.resolved.host.cpu = "cortex-a72".into();
        let due = "cortex-a72 has no pages of 16K, and the kernel has CONFIG_ARM64_16K_PAGES";
        assert_eq!(lack(&pages, &planned), Some((StopCause::Lacking, due.to_owned())));
    }

    /// The tree may be unknown, or without the suite, or without the test; the build may fail.
    #[test]
    fn a_kernel_may_lack_selftests() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = kernel(dir.path(), "", &[], &[]);
        let mut planned = planned();
        let step = serde_json::json!({"suite": {"of": "kvm-selftests", "tests": ["page_falt_test -m 3"]}});
        planned.resolved.steps.push(serde_json::from_value(step).unwrap());
        let lack = |selftests: Selftests| {
            let kernel = KernelFiles { selftests, ..kernel.clone() };
            let found = check(&planned, &kernel, None, ROOM, of(&planned)).unwrap_err();
            (found.cause(), found.to_string())
        };
        let suite = |built| Selftests::of([(Suite::KvmSelftests, built)]);
        let known = |names: &[&str]| {
            let known = names.iter().map(|name| (*name).to_owned()).collect();
            suite(Ok(s2lab_cache::Selftests { programs: [].into(), known }))
        };
        for (selftests, cause, words) in [
            (Selftests::default(), StopCause::Lacking, "the kernel is not built here"),
            (known(&[]), StopCause::Lacking, "the kernel's tree has no kvm-selftests"),
            (
                known(&["page_fault_test"]),
                StopCause::Lacking,
                "no test `page_falt_test`; did you mean `page_fault_test`?",
            ),
            (
                suite(Err(s2lab_cache::CacheError::Offline { missing: "gcc".into() })),
                StopCause::Lab,
                "have gcc",
            ),
        ] {
            let (found, what) = lack(selftests);
            assert!(found == cause && what.contains(words), "{what}");
        }
        let there = KernelFiles { selftests: known(&["page_falt_test"]), ..kernel.clone() };
        assert!(check(&planned, &there, None, ROOM, of(&planned)).is_ok());
    }

    /// s2lab builds its own module only for kernels that it builds.
    #[test]
    fn a_kernel_may_lack_the_module() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = kernel(dir.path(), "", &[], &[]);
        let mut planned = planned();
        let vma = serde_json::from_str(r#"{"pgprot": "device"}"#).unwrap();
        for guest in planned.resolved.guests.values_mut() {
            guest.vmas.insert("nic".into(), vma);
        }
        let lack = |module: MemoryModule, more: &str| {
            let needs = kconfig::needs(&planned.resolved).into_iter().filter(|need| need.option != "MODULES");
            let all: String = needs.map(|need| format!("CONFIG_{}=y\n", need.option)).collect();
            let config = Config::parse(&format!("CONFIG_ARM64=y\n{all}{more}")).unwrap();
            let config = Some(KernelConfig { config, sha256: String::new() });
            let found =
                check(&planned, &KernelFiles { module, config, ..kernel.clone() }, None, ROOM, of(&planned));
            found.err().map(|found| (found.cause(), found.to_string()))
        };
        let (built, on) = (MemoryModule::Built("s2lab_memory.ko".into()), "CONFIG_MODULES=y\n");
        assert_eq!(lack(built.clone(), on), None);
        let why = "the kernel lacks CONFIG_MODULES (s2lab's own module makes VMAs)";
        assert_eq!(lack(built, ""), Some((StopCause::Lacking, why.into())));
        let (cause, why) = lack(MemoryModule::None, on).unwrap();
        assert!(cause == StopCause::Lacking && why.starts_with("the kernel is not built here"), "{why}");
        let failed = s2lab_cache::CacheError::Offline { missing: "gcc".into() };
        let (cause, why) = lack(MemoryModule::Failed(std::sync::Arc::new(failed)), on).unwrap();
        assert!(cause == StopCause::Lab && why.contains("gcc"), "{why}");
    }

    #[test]
    fn modules_are_looked_for_in_what_is_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let modules = ["VFIO_PCI", "VFIO"];
        assert_eq!(found(&kernel(dir.path(), "", &modules, &["vfio", "vfio-pci"]), ROOM), None);
        let (_, what) = found(&kernel(dir.path(), "", &modules, &["vfio"]), ROOM).unwrap();
        assert!(what.contains("CONFIG_VFIO_PCI=m") && !what.contains("CONFIG_VFIO="), "{what}");
        let torn = kernel(dir.path(), "", &[], &[]);
        std::fs::write(&torn.boot.modules, "no archive").unwrap();
        assert_eq!(found(&torn, ROOM).unwrap().0, StopCause::Lab);
    }

    #[test]
    fn of_a_configuration_that_nobody_has_nothing_is_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let unknown = KernelFiles { config: None, ..kernel(dir.path(), "", &[], &[]) };
        assert_eq!(found(&unknown, ROOM), None);
    }

    #[test]
    fn a_module_that_is_nowhere_is_named_without_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let mut without = KernelFiles { config: None, ..kernel(dir.path(), "", &[], &[]) };
        without.boot.absent = vec!["vfio_pci".into()];
        let (cause, what) = found(&without, ROOM).unwrap();
        let due = "the kernel lacks CONFIG_VFIO_PCI, neither built in nor a module (a PCI device is bound to vfio-pci)";
        assert_eq!((cause, &*what), (StopCause::Lacking, due));
    }
}
