//! `--rootfs` and related arguments: parts that the user brings.

use crate::cli::{failure::Failure, shared::qemu::QemuArguments};
use crate::{boot::kernel::ready::GUEST_MODULES, home, lab::Places, runtime};
use clap::Args;
use s2lab_cache::{Cache, Parts, Quiet};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Their heading in `--help`.
const HEADING: &str = "Bring your own parts (no apt or cargo needed)";

/// The arguments of a machine without apt and cargo, which uses another machine's parts.
#[derive(Debug, Clone, Args, Default)]
pub(crate) struct PartArguments {
    #[command(flatten)]
    pub(crate) qemu: QemuArguments,
    /// The host's user land: a folder with an arm64 system, or a cpio archive of one, that has
    /// QEMU, dropbear and busybox
    #[arg(long, help_heading = HEADING, value_name = "DIR|CPIO", value_parser = home::argument())]
    rootfs: Option<PathBuf>,
    /// The agent, a static program for aarch64
    #[arg(long, help_heading = HEADING, value_name = "PROGRAM", value_parser = home::argument())]
    agent: Option<PathBuf>,
    /// The kernel that guests boot, an arm64 Image
    #[arg(long, help_heading = HEADING, value_name = "IMAGE", value_parser = home::argument())]
    guest_kernel: Option<PathBuf>,
    /// Modules of the guests' kernel; default: all are built in
    #[arg(long, help_heading = HEADING, value_name = "DIR", requires = "guest_kernel", value_parser = home::argument())]
    guest_modules: Option<PathBuf>,
    /// The plugin of QEMU that records TLB invalidations, a shared library for this machine
    #[arg(long, help_heading = HEADING, value_name = "FILE", value_parser = home::argument())]
    plugin: Option<PathBuf>,
}

impl PartArguments {
    /// Checks the brought parts, before a run is made.
    pub(crate) fn check(&self, places: &Places) -> Result<(), Failure> {
        if self.words().is_empty() {
            return Ok(());
        }
        let cache = Cache::open(&places.cache, true, Arc::new(Quiet))?.with_parts(self.parts());
        Ok(runtime::block_on(cache.check_parts(&GUEST_MODULES))??)
    }

    /// Returns these, or `others` if there are none.
    pub(crate) fn or(self, others: Self) -> Self {
        if self.words().is_empty() { others } else { self }
    }

    pub(crate) fn parts(&self) -> Parts {
        let Self { qemu, rootfs, agent, guest_kernel, guest_modules, plugin } = self.clone();
        let qemu = qemu.file().map(Path::to_owned);
        Parts { qemu, rootfs, agent, guest_kernel, guest_modules, plugin }
    }

    /// Returns the arguments for the same parts. A QEMU that is given by a word is in the key.
    pub(crate) fn words(&self) -> Vec<String> {
        let Parts { qemu, rootfs, agent, guest_kernel, guest_modules, plugin } = self.parts();
        let word = |argument: &str, path: Option<PathBuf>| {
            path.map(|path| [argument.to_owned(), path.display().to_string()])
        };
        [
            word("--qemu", qemu),
            word("--rootfs", rootfs),
            word("--agent", agent),
            word("--guest-kernel", guest_kernel),
            word("--guest-modules", guest_modules),
            word("--plugin", plugin),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .collect()
    }
}
