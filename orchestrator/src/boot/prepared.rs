//! The kernels of a run, which are prepared one after the other. Each can be booted from the moment on
//! at which it is settled.

use super::{
    kernel::{
        memory_module::MemoryModule,
        ready::{KernelFiles, kernel},
        resolved::KernelRequest,
        selftests::{Asked, Selftests},
    },
    lanes::Lanes,
};
use s2lab_cache::{Cache, CacheError, Progress};
use s2lab_os::waits::timeout;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// The time that the cache has to end when nobody needs its work any more; more than make has to remove
/// what it has half made.
pub const HEED: Duration = Duration::from_secs(12);

/// The files of a kernel, or the reason why it is missing.
type Settled = Result<KernelFiles, CacheError>;

/// The kernels of a run, by their names in the plan.
pub struct PreparedKernels {
    kernels: BTreeMap<String, OnceLock<Settled>>,
    /// The number of kernels that are settled.
    settled: watch::Sender<usize>,
}

impl PreparedKernels {
    /// Makes kernels of which none is settled.
    pub fn awaited(names: impl IntoIterator<Item = String>) -> Self {
        let kernels = names.into_iter().map(|name| (name, OnceLock::new())).collect();
        Self { kernels, settled: watch::Sender::new(0) }
    }

    /// Settles a kernel. Only its first result counts.
    pub fn settle(&self, name: &str, result: Settled) {
        let Some(place) = self.kernels.get(name) else { return };
        if place.set(result).is_err() {
            return;
        }
        if let Some(Ok(files)) = place.get() {
            tracing::info!("kernel {name}: {}", files.boot.image.display());
        }
        self.settled.send_modify(|count| *count += 1);
    }

    /// Returns true if nothing more is to come of the kernel. Nobody prepares one that is not known.
    pub fn is_settled(&self, name: &str) -> bool {
        self.kernels.get(name).is_none_or(|place| place.get().is_some())
    }

    /// Returns the kernel, if it is settled.
    pub fn get(&self, name: &str) -> Option<&Settled> {
        self.kernels.get(name)?.get()
    }

    /// Returns a receiver that is notified of each kernel that is settled from now on.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.settled.subscribe()
    }

    /// Waits until all kernels are settled.
    pub async fn all(&self) {
        self.until(|| self.kernels.values().all(|place| place.get().is_some())).await;
    }

    /// Waits until all kernels but those of `late` are settled, and one can be booted; or until all
    /// are settled.
    pub(super) async fn begin(&self, late: &BTreeSet<String>) {
        let is_due = || {
            let open = self.kernels.iter().filter(|(_, place)| place.get().is_none());
            let names: Vec<&String> = open.map(|(name, _)| name).collect();
            names.is_empty() || self.can_boot() && names.into_iter().all(|name| late.contains(name))
        };
        self.until(is_due).await;
    }

    async fn until(&self, is_due: impl Fn() -> bool) {
        let mut changes = self.changes();
        // It fails if the sender is gone, which is a part of `self`.
        while !is_due() && changes.changed().await.is_ok() {}
    }

    /// Returns true if there is a kernel that can be booted.
    pub(super) fn can_boot(&self) -> bool {
        self.kernels.values().any(|place| matches!(place.get(), Some(Ok(_))))
    }

    /// Returns the error of a run that has no kernel: that of the first by name, unless the user has
    /// interrupted it.
    pub(super) fn into_error(self) -> Option<CacheError> {
        let settled = self.kernels.into_values().filter_map(OnceLock::into_inner);
        let mut errors: Vec<_> = settled.filter_map(Result::err).collect();
        match errors.iter().position(|error| matches!(error, CacheError::Cancelled)) {
            Some(at) => Some(errors.swap_remove(at)),
            None => errors.into_iter().next(),
        }
    }
}

/// Settles all other kernels when it is dropped, so that nobody waits for them.
struct Rest(Arc<PreparedKernels>);

impl Drop for Rest {
    fn drop(&mut self) {
        for name in self.0.kernels.keys().filter(|name| !self.0.is_settled(name)) {
            self.0.settle(
                name,
                Err(match std::thread::panicking() {
                    true => {
                        CacheError::Task("s2lab has a defect: the preparation of kernels broke".to_owned())
                    }
                    false => CacheError::Cancelled,
                }),
            );
        }
    }
}

/// A kernel that is to be prepared.
pub(super) struct KernelOrder {
    /// The name in the plan.
    pub(super) name: String,
    pub(super) request: KernelRequest,
    /// The selftests that its cells ask for.
    pub(super) asked: Asked,
    /// Its cells ask for s2lab's own module.
    pub(super) needs_module: bool,
}

impl KernelOrder {
    /// Returns true if more than the kernel is built, and so can take longer than the preparation of the others.
    pub(super) fn builds_more(&self) -> bool {
        matches!(self.request, KernelRequest::Built(_)) && (self.needs_module || !self.asked.is_empty())
    }

    async fn files(&self, cache: &Cache) -> Settled {
        let files = kernel(cache, &self.request).await?;
        let selftests = Selftests::built(cache, &self.request, &self.asked).await?;
        let module = match self.needs_module {
            true => MemoryModule::built(cache, &self.request).await?,
            false => MemoryModule::None,
        };
        Ok(KernelFiles { selftests, module, ..files })
    }
}

/// The preparation of kernels, which goes on while the first cells run.
pub struct Preparation {
    lanes: Arc<Lanes>,
    /// None: its end was waited for. A JoinHandle that has ended panics if it is polled again.
    task: Option<JoinHandle<()>>,
}

impl Preparation {
    /// Begins to prepare kernels in this order.
    pub(super) fn begin(
        cache: Cache,
        lanes: Arc<Lanes>,
        kernels: Arc<PreparedKernels>,
        requests: Vec<KernelOrder>,
    ) -> Self {
        let progress = Arc::clone(&lanes);
        let task = tokio::spawn(async move {
            let _rest = Rest(Arc::clone(&kernels));
            for order in requests {
                match order.files(&cache).await {
                    Err(CacheError::Cancelled) => break,
                    settled => kernels.settle(&order.name, settled),
                }
            }
            progress.idle();
        });
        Self { lanes, task: Some(task) }
    }

    /// Waits for its end. It may be called again.
    pub(super) async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            // If it has broken, `Rest` has settled its kernels.
            let _ = task.await;
            self.task = None;
        }
    }

    /// Ends the work that nobody needs any more, and waits for its end.
    pub async fn stop(mut self) {
        self.lanes.cancel();
        if timeout(HEED, self.ended()).await.is_err() {
            tracing::warn!("the cache does not end its work");
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.lanes.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::kernel::{
        ready::{Bootable, KernelSymbols},
        resolved::wanted,
    };
    use s2lab_cache::Quiet;
    use s2lab_model::steps::Suite;
    use std::{
        future::Future,
        panic::{AssertUnwindSafe, catch_unwind},
        pin::pin,
        task::{Context, Waker},
    };

    fn files() -> KernelFiles {
        let (image, modules) = ("Image".into(), "modules".into());
        let boot = Bootable { image, sha256: "5e".into(), modules, absent: vec![], package: None };
        let (symbols, selftests) = (KernelSymbols::default(), Selftests::default());
        KernelFiles { boot, config: None, symbols, selftests, module: MemoryModule::None }
    }

    #[test]
    fn a_kernel_with_selftests_or_the_module_is_late_where_they_are_built() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
        let text = std::fs::read_to_string(folder.join("kernels.yaml")).unwrap();
        let listed = s2lab_model::kernel::load("kernels.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
        let late = |name: &str, tests: bool, needs_module| {
            let request = wanted(&listed, name, &folder).unwrap();
            let tests = tests.then(|| (Suite::KvmSelftests, BTreeSet::from(["x".to_owned()])));
            let asked = tests.into_iter().collect();
            KernelOrder { name: name.into(), request, asked, needs_module }.builds_more()
        };
        assert!(late("linux-6.1", true, false) && late("linux-6.1", false, true));
        assert!(!late("linux-6.1", false, false));
        assert!(!late("debian-6.12", true, true), "nothing is built for it");
    }

    fn offline(missing: &str) -> Settled {
        Err(CacheError::Offline { missing: missing.into() })
    }

    fn three() -> PreparedKernels {
        PreparedKernels::awaited(["a", "b", "c"].map(str::to_owned))
    }

    fn is_over(wait: impl Future<Output = ()>) -> bool {
        pin!(wait).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_run_begins_when_a_kernel_is_there_and_only_late_ones_are_missing() {
        let (kernels, late) = (three(), BTreeSet::from(["c".to_owned()]));
        assert!(!is_over(kernels.begin(&late)));
        kernels.settle("a", offline("a"));
        assert!(!is_over(kernels.begin(&late)), "b comes at once");
        kernels.settle("b", Ok(files()));
        assert!(is_over(kernels.begin(&late)) && !is_over(kernels.all()));
        assert!(kernels.is_settled("b") && !kernels.is_settled("c"));
        assert!(kernels.is_settled("d"), "nobody prepares it");
        // The first result counts.
        kernels.settle("b", offline("b"));
        assert!(matches!(kernels.get("b"), Some(Ok(_))));
        kernels.settle("c", Ok(files()));
        assert!(is_over(kernels.all()));
    }

    #[test]
    fn all_may_be_late_and_all_may_be_missing() {
        let (kernels, late) = (three(), ["a", "b", "c"].map(str::to_owned).into());
        kernels.settle("b", offline("b"));
        assert!(!is_over(kernels.begin(&late)), "no cell can begin");
        kernels.settle("c", offline("c"));
        kernels.settle("a", offline("a"));
        assert!(is_over(kernels.begin(&late)) && !kernels.can_boot());
        assert!(matches!(kernels.into_error(), Some(CacheError::Offline { missing }) if missing == "a"));
        let kernels = three();
        kernels.settle("a", offline("a"));
        kernels.settle("c", Err(CacheError::Cancelled));
        assert!(matches!(kernels.into_error(), Some(CacheError::Cancelled)));
    }

    #[test]
    fn nobody_waits_for_a_preparation_that_has_ended() {
        let kernels = Arc::new(three());
        kernels.settle("a", Ok(files()));
        let changes = kernels.changes();
        drop(Rest(Arc::clone(&kernels)));
        assert!(changes.has_changed().unwrap());
        assert!(matches!(kernels.get("a"), Some(Ok(_))));
        assert!(matches!(kernels.get("c"), Some(Err(CacheError::Cancelled))));
        let kernels = Arc::new(three());
        let rest = Rest(Arc::clone(&kernels));
        let broken = catch_unwind(AssertUnwindSafe(move || {
            let _rest = rest;
            panic!("on purpose");
        }));
        assert!(broken.is_err() && matches!(kernels.get("c"), Some(Err(CacheError::Task(_)))));
    }

    /// Who learns that no kernel can be booted waits for the end, and then stops what has ended.
    #[tokio::test]
    async fn the_end_may_be_waited_for_twice() {
        let dir = tempfile::tempdir().unwrap();
        let lanes = Arc::new(Lanes::new(Arc::new(Quiet)));
        let cache = Cache::open(dir.path(), true, lanes.clone()).unwrap();
        let mut preparation = Preparation::begin(cache, lanes, Arc::new(three()), vec![]);
        preparation.ended().await;
        preparation.stop().await;
    }
}
