//! Stores that go on in threads of their own while the host acts.

use super::hold::{Spinners, repeat};
use super::machine::{Machine, Storer, Stores};
use super::span::{Batch, Run};
use super::{Guest, store};
use crate::{agent::Answers, fault};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{BeginStores, EndStores, Store, StoresEnded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// A thread for each vCPU that stores.
pub(super) struct Background<S> {
    threads: Spinners<Arc<AtomicU32>>,
    storer: S,
    passes: Arc<AtomicU64>,
}

impl<M: Machine> Answers<BeginStores> for Guest<M> {
    fn answer(&mut self, BeginStores { store: ask, may_fault }: BeginStores) -> Result<(), Failure> {
        store::check(&ask)?;
        let target = self.machine.map(&ask.device, &ask.address, ask.map)?;
        let run = Run::of(ask.manner, ask.bytes, target)?;
        let (storer, passes) = (self.machine.storer(may_fault)?, Arc::new(AtomicU64::new(0)));
        let mut background = Background { threads: Spinners::none(), storer, passes };
        let work = |cpu| {
            let (storer, ask, passes) =
                (background.storer.clone(), ask.clone(), Arc::clone(&background.passes));
            (Arc::default(), move |word: &AtomicU32| again(&storer, &ask, run, cpu, word, &passes))
        };
        let begun = background.threads.hold((0..ask.manner.vcpus).map(work));
        begun.inspect_err(|_| _ = background.storer.end())?;
        self.stores = Some(background);
        Ok(())
    }
}

impl<M: Machine> Answers<EndStores> for Guest<M> {
    fn answer(&mut self, _: EndStores) -> Result<StoresEnded, Failure> {
        let stores = self.stores.take().ok_or_else(|| fault::invalid("the guest does not store"))?;
        let Background { mut threads, storer, passes } = stores;
        threads.release()?;
        Ok(StoresEnded { passes: passes.load(SeqCst), faults: storer.end() })
    }
}

/// Makes the vCPU's part of the store until `word` changes.
fn again(
    storer: &impl Storer,
    ask: &Store,
    run: Run,
    cpu: u32,
    word: &AtomicU32,
    passes: &AtomicU64,
) -> Result<(), Failure> {
    storer.begin(cpu)?;
    let stores = Stores::of(ask);
    let with_words = |batch: Batch| {
        let words: Vec<_> = batch.pattern(ask.seed).collect();
        (batch, words)
    };
    let batches: Vec<_> = run.batches(cpu).map(with_words).collect();
    repeat(word, || {
        for (batch, words) in &batches {
            storer.store(cpu, stores, &batch.0, words)?;
            batch.count();
        }
        passes.fetch_add(1, SeqCst);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, bar_file, fixture};
    use super::super::linux::Linux;
    use super::*;
    use s2lab_protocol::ask::{GuestRequest, Hold, Release, Request};
    use s2lab_protocol::{By, FailureKind, Manner, MapKind, pattern};
    use std::path::Path;
    use std::time::{Duration, Instant};

    fn guest(folder: &Path) -> Guest<Linux> {
        Guest { machine: Linux::at(fixture(folder)), program: None, stores: None }
    }

    fn begin(bytes: u64, may_fault: bool) -> BeginStores {
        let (device, address, map) = ("nic".into(), ADDRESS.into(), MapKind::Wc);
        let (by, manner) = (By::Str, Manner::default());
        BeginStores { store: Store { device, address, map, width: 8, by, manner, bytes, seed: 9 }, may_fault }
    }

    #[test]
    fn a_guest_stores_until_the_end_and_answers_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = guest(folder.path());
        guest.answer(begin(4096, false)).unwrap();
        let first = || bar_file(folder.path())[..8] == pattern(9, 0).to_le_bytes();
        let started = Instant::now();
        while !first() && started.elapsed() < Duration::from_secs(10) {}
        assert!(first());
        // What something else has written goes again.
        let hold = guest.dispatch(Request::Guest(GuestRequest::Hold(Hold { nonce: 1 }))).unwrap_err();
        assert_eq!((hold.kind, hold.message.as_str()), (FailureKind::Invalid, "the guest stores"));
        let again = guest.dispatch(Request::Guest(GuestRequest::BeginStores(begin(64, false))));
        assert_eq!(again.unwrap_err().message, "the guest stores");
        let ended = guest.answer(EndStores {}).unwrap();
        assert!(ended.passes > 0 && ended.faults == 0, "{ended:?}");
        assert_eq!(guest.answer(EndStores {}).unwrap_err().message, "the guest does not store");
        assert!(guest.dispatch(Request::Guest(GuestRequest::Hold(Hold { nonce: 1 }))).is_ok());
        guest.answer(Release {}).unwrap();
    }

    #[test]
    fn a_store_that_cannot_be_made_does_not_begin() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = guest(folder.path());
        assert!(guest.answer(begin(8, false)).unwrap_err().message.contains("multiple"));
        // QEMU stops a guest whose KVM_RUN fails.
        assert!(guest.answer(begin(64, true)).unwrap_err().message.contains("built-in VMM"));
        assert!(guest.answer(EndStores {}).is_err());
    }
}
