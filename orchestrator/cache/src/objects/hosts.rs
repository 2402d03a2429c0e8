//! Saved hosts: objects that are large and soon out of date. Those used longest ago go when all take too much.

use crate::{
    Cache,
    error::Result,
    objects::{inventory::Item, manifest::Manifest},
};
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The kind of saved hosts.
pub(crate) const HOSTS: &str = "host";
/// The most bytes that all of them take on the disk.
pub const HOSTS_LIMIT: u64 = 4 << 30;
/// The unit of `st_blocks` (stat(2)).
const BLOCK: u64 = 512;

impl Cache {
    /// Returns the folder of the saved host with these inputs, if it is there and whole. Blocks.
    pub fn saved_host(&self, name: &str, inputs: &impl Serialize) -> Result<Option<PathBuf>> {
        Ok(self.objects.find(HOSTS, name, inputs)?.map(|object| object.path))
    }

    /// Saves a host, if there is none with these inputs: `fill` gets an empty folder. Then removes those that
    /// are too many. If another one saves the same host, the error is [`CacheError::LockTimeout`]. Blocks.
    pub fn save_host(
        &self,
        name: &str,
        inputs: &impl Serialize,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.objects.get_within(Duration::ZERO, HOSTS, name, inputs, |building| fill(&building.dir))?;
        self.limit_hosts(HOSTS_LIMIT)
    }

    /// Removes the saved host with these inputs, which is of no use. One that another process uses stays.
    /// Blocks.
    pub fn discard_host(&self, name: &str, inputs: &impl Serialize) -> Result<()> {
        let place = self.objects.place(HOSTS, name, inputs)?;
        self.objects.release(&place);
        let items = self.items()?;
        items.iter().filter(|item| item.path == place.path).try_for_each(|item| self.remove_unused(item))
    }

    /// Removes saved hosts, first that which was used longest ago, until the others take at most `limit`
    /// bytes. Those that a process uses stay.
    fn limit_hosts(&self, limit: u64) -> Result<()> {
        let mut hosts: Vec<_> = self.items()?.into_iter().filter(|item| item.kind == HOSTS).collect();
        hosts.sort_by_key(|host| std::cmp::Reverse(host.used));
        let mut bytes = 0u64;
        for host in hosts {
            bytes = bytes.saturating_add(host.size);
            if bytes > limit {
                self.remove_unused(&host)?;
            }
        }
        Ok(())
    }

    fn remove_unused(&self, item: &Item) -> Result<()> {
        if let Some(claim) = self.claim(item)? {
            claim.remove(item)?;
            self.objects.forget_check(&item.kind, item.folder_name());
        }
        Ok(())
    }
}

/// Returns the bytes that an object's files take on the disk. The state of a machine has holes.
pub(crate) fn on_disk(object: &Path, manifest: &Manifest) -> u64 {
    let blocks =
        manifest.files.keys().filter_map(|file| Some(fs::metadata(object.join(file)).ok()?.blocks()));
    blocks.fold(0, u64::saturating_add).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use std::{sync::Arc, time::Instant};

    /// The bytes of a host's state on the disk, and those of the file.
    const STATE: usize = 1 << 20;
    const WHOLE: u64 = 64 << 20;

    fn open(cache: &Path) -> Cache {
        Cache::open(cache, true, Arc::new(Quiet)).unwrap()
    }

    fn save(cache: &Cache, name: &str) {
        let fill = |folder: &Path| {
            let state = fs::File::create(folder.join("state")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&state, &vec![1; STATE], 0).unwrap();
            state.set_len(WHOLE).unwrap();
            Ok(())
        };
        cache.save_host(name, &name, fill).unwrap();
        // The times of two uses differ.
        std::thread::sleep(Duration::from_millis(20));
    }

    fn names(cache: &Cache) -> Vec<String> {
        cache.items().unwrap().into_iter().map(|item| item.name).collect()
    }

    /// Does it until it has held. A program that another test starts holds our locks until it has begun to run.
    fn soon(mut work: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !work() {
            assert!(begin.elapsed() < Duration::from_secs(10), "nobody else has it");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_host_that_was_used_longest_ago_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path());
        ["a", "b", "c"].iter().for_each(|name| save(&cache, name));
        let sizes: Vec<_> = cache.items().unwrap().iter().map(|item| item.size).collect();
        assert!(sizes.iter().all(|size| (STATE as u64..2 * STATE as u64).contains(size)), "{sizes:?}");
        cache.limit_hosts(0).unwrap();
        assert_eq!(names(&cache), ["a", "b", "c"], "this process uses them");
        drop(cache);
        assert!(open(dir.path()).saved_host("a", &"a").unwrap().is_some());
        soon(|| {
            open(dir.path()).limit_hosts(5 * STATE as u64 / 2).unwrap();
            names(&open(dir.path())) == ["a", "c"]
        });
        assert!(open(dir.path()).saved_host("b", &"b").unwrap().is_none());
    }

    #[test]
    fn a_host_that_is_of_no_use_goes_though_this_process_used_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path());
        ["a", "b"].iter().for_each(|name| save(&cache, name));
        soon(|| {
            cache.discard_host("a", &"a").unwrap();
            names(&cache) == ["b"]
        });
        assert!(cache.saved_host("a", &"a").unwrap().is_none());
        assert!(cache.saved_host("b", &"b").unwrap().is_some());
    }
}
