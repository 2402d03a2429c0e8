//! The preparations of hosts before they boot, for `run` and `shell`.

use crate::cli::{failure::Failure, shared::cells::CellPlan};
use crate::{
    boot::{
        files::{BootFiles, KernelSources},
        kernel::{guests::GuestsKernel, named::CustomKernel, needs::needs},
        lanes::Lanes,
        preflight::STATE_SPACE,
    },
    host::{
        self, Launcher,
        deadlines::{Deadlines, Factor},
        emulated::factor,
    },
    lab::{Lab, Places},
    run::{
        Run,
        folder::RunFolder,
        log::EventLog,
        operator::Operator,
        programs::Programs,
        saved::SavedHosts,
        signals::Interruption,
        slots::{self, Slots},
    },
    show::{self, progress::Display},
};
use s2lab_cache::{Cache, Need, Parts};
use s2lab_model::event::PlannedCell;
use s2lab_os::{limits::memory::Available, size::Size};
use std::{collections::BTreeSet, path::Path, sync::Arc, thread};

/// Everything that the hosts of a plan need.
pub(crate) struct Provisions {
    boot: BootFiles,
    slots: Slots,
    launcher: Launcher,
    factor: Factor,
    programs: Programs,
    cache: Cache,
}

/// The places that things come from, and whether the network may be used.
pub(crate) struct Source<'a> {
    pub(crate) places: &'a Places,
    /// The parts that the user brings.
    pub(crate) parts: Parts,
    /// The lab folder, with patches and configurations.
    pub(crate) lab: &'a Lab,
    pub(crate) offline: bool,
    /// The quick kernel for guests is built, if the cache does not have it.
    pub(crate) quick_guests: bool,
    /// The number of cells is news, even if no kernel needs anything.
    pub(crate) counts: bool,
}

impl Provisions {
    /// Takes the files for `planned` from the cache, and measures this machine if necessary. Before that
    /// it prints what the kernels need.
    pub(crate) async fn new(
        planned: &CellPlan,
        source: Source<'_>,
        display: &Arc<Display>,
    ) -> Result<Self, Failure> {
        let Source { places, lab, parts, offline, quick_guests, counts } = source;
        let lanes = Arc::new(Lanes::new(display.clone()));
        let CellPlan { kernels, chosen, given, cells, .. } = planned;
        let is_given = parts.guest_kernel.is_some();
        let cache = Cache::open(&places.cache, offline, lanes.clone())?.with_parts(parts);
        let guest = match is_given {
            true => GuestsKernel::usual(kernels),
            false => GuestsKernel::chosen(&cache, kernels, &lab.images(), quick_guests).await?,
        };
        let guests = guest.name;
        let needed = (!is_given).then_some(guest);
        let mut needs = needs(&cache, kernels, &lab.images(), chosen, cells, needed).await;
        let late = needs.iter().flat_map(|need| need.kernels.clone()).collect();
        needs.retain(|need| !offline || !matches!(need.need, Need::Fetch(_)));
        let names: BTreeSet<&String> = cells.iter().map(|cell| &cell.kernel).collect();
        if counts || !needs.is_empty() {
            display.note(&show::needs::line(cells.len(), names.len(), &needs));
        }
        let (listed, folder) = (kernels, lab.images());
        let sources = KernelSources { listed, guest: guests, folder: &folder, chosen, checked: given };
        let gathered = BootFiles::gather(cache.clone(), &lanes, sources, cells, &late).await;
        display.clear_all();
        let boot = gathered?;
        for CustomKernel { label, .. } in chosen {
            if boot.kernel(label).is_some_and(|kernel| kernel.config.is_none()) {
                tracing::warn!(
                    "{label}: its configuration is not known, so what it lacks cannot be named; give it by --config FILE, or build with CONFIG_IKCONFIG=y"
                );
            }
        }
        for (choice, qemu) in boot.qemus() {
            tracing::info!("{} QEMU {}: {}", choice.word(), qemu.version, qemu.program.display());
        }
        let slots = slots(&places.cache, cells)?;
        let launcher = Launcher::start().map_err(Failure::io("cannot start"))?;
        // One of several QEMUs may be slower: the deadlines are for all of them.
        let mut factor = Factor::default();
        for (_, qemu) in boot.qemus() {
            factor = factor.max(factor::of_machine(&places.cache, &launcher, qemu, false).await?);
        }
        Ok(Self { boot, slots, launcher, factor, programs: planned.programs.clone(), cache })
    }

    /// Returns the number of cells at a time. Who wants more than there are slots gets more slots.
    pub(crate) fn jobs(&mut self, wanted: Option<u16>) -> usize {
        let Some(wanted) = wanted.map(usize::from) else { return self.slots.count() };
        self.slots.raise(wanted);
        wanted
    }

    /// Returns the saved hosts of the cache, if they are `wanted`.
    pub(crate) fn saved(&self, wanted: bool) -> Option<SavedHosts> {
        wanted.then(|| SavedHosts::new(self.cache.clone()))
    }

    /// Makes a run that writes into `folder` and `log`.
    pub(crate) fn run(
        self,
        folder: RunFolder,
        log: EventLog,
        interruption: Interruption,
        operator: Option<Arc<Operator>>,
    ) -> Run {
        let Self { boot, slots, launcher, factor, programs, .. } = self;
        let deadlines = Deadlines::default().times(factor);
        Run {
            folder,
            log,
            boot,
            slots,
            launcher,
            interruption,
            deadlines,
            factor,
            programs,
            least_space: STATE_SPACE,
            operator,
            seed: None,
            saved: None,
        }
    }
}

/// Returns the slots for these cells' hosts. Prints a warning if memory allows fewer than cores do.
fn slots(cache: &Path, cells: &[PlannedCell]) -> Result<Slots, Failure> {
    let cores = thread::available_parallelism().map_err(Failure::io("the number of cores"))?.get();
    let Available { bytes, bound } = Available::now().map_err(Failure::io("the memory"))?;
    let largest = cells.iter().map(|cell| host::memory(&cell.resolved.host)).max().unwrap_or_default();
    let count = slots::count(cores, bytes, largest);
    if count < cores.min(cells.len()) {
        let (largest, left) = (Size(largest), Size(bytes));
        tracing::warn!(
            "{count} of {cores} hosts at a time: one takes up to {largest}, {bound} has {left} left"
        );
    }
    Slots::new(cache, count).map_err(Failure::io("cannot use the cache"))
}
