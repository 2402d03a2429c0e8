//! The pool of downloaded packages: files `deb/SHA256-NAME.deb` of the cache.

use super::{Apt, Deb, LISTS_FRESH, SILENCE, Scope, Session};
use crate::{
    error::{CacheError, Result},
    objects::{digest, inventory::PACKAGES, object},
};
use s2lab_os::{
    child::run::{self, Watch},
    clock,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

impl Apt {
    /// Returns the files of `debs`. Missing and damaged ones are downloaded.
    pub(crate) fn fetch(&self, what: &str, scope: &Scope, debs: &[Deb]) -> Result<Vec<PathBuf>> {
        let missing = self.missing(debs)?;
        if !missing.is_empty() {
            if self.offline {
                let names: Vec<String> = missing.iter().map(|d| d.exact()).collect();
                return Err(CacheError::Offline { missing: format!("{what}: {}", names.join(" ")) });
            }
            let session = self.session(scope, LISTS_FRESH)?;
            // Another process may have fetched them meanwhile.
            let missing = self.missing(debs)?;
            let first = if missing.is_empty() { Ok(()) } else { self.download(&session, what, &missing) };
            match first {
                // Lists older than the archive name files that no longer exist.
                Err(first @ CacheError::Fetch { .. }) => {
                    drop(session);
                    let session = match self.session(scope, Duration::ZERO) {
                        // There are no new lists, so the first failure counts.
                        Err(CacheError::Fetch { .. }) => return Err(first),
                        session => session?,
                    };
                    let missing = self.missing(debs)?;
                    // Packages that arrived while apt failed for another reason are there too.
                    if !missing.is_empty() {
                        let again = self.download(&session, what, &missing);
                        again.map_err(|error| session.gone(&missing).unwrap_or(error))?;
                    }
                }
                other => other?,
            }
        }
        let files: Vec<_> = debs.iter().map(|d| self.pooled(d)).collect();
        files.iter().for_each(|file| note_use(file));
        Ok(files)
    }

    /// Returns the bytes of those packages that the pool does not have, by their sizes.
    pub(crate) fn bytes_to_fetch(&self, debs: &[Deb]) -> u64 {
        let is_missing = |deb: &&Deb| !fs::metadata(self.pooled(deb)).is_ok_and(|m| m.len() == deb.size);
        debs.iter().filter(is_missing).map(|deb| deb.size).sum()
    }

    /// Returns the packages that are missing or damaged in the pool.
    fn missing<'a>(&self, debs: &'a [Deb]) -> Result<Vec<&'a Deb>> {
        let mut missing = Vec::new();
        for deb in debs {
            let path = self.pooled(deb);
            let whole =
                fs::metadata(&path).is_ok_and(|m| m.len() == deb.size) && digest::file(&path)? == deb.sha256;
            if !whole {
                missing.push(deb);
            }
        }
        Ok(missing)
    }

    fn pooled(&self, deb: &Deb) -> PathBuf {
        self.objects.join(PACKAGES).join(format!("{}-{}.deb", deb.sha256, deb.name))
    }

    /// Downloads into a temporary folder first. A file moves to the pool once its digest is right,
    /// even if another did not arrive.
    fn download(&self, session: &Session<'_>, what: &str, debs: &[&Deb]) -> Result<()> {
        let folder = self.dir.join("downloads");
        object::remove_tree(&folder)?;
        s2lab_os::private::make(&folder).map_err(CacheError::io("cannot create", &folder))?;
        let pool = self.objects.join(PACKAGES);
        s2lab_os::private::make(&pool).map_err(CacheError::io("cannot create", &pool))?;
        let total: u64 = debs.iter().map(|d| d.size).sum();

        let mut command = session.apt_get();
        command.arg("-qq").arg("download").args(debs.iter().map(|d| d.exact())).current_dir(&folder);
        let mut last = None;
        let mut activity = || {
            let here = fs::read_dir(&folder).into_iter().flatten().flatten();
            let done = here.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>().min(total);
            if last != Some(done) {
                self.progress.download(what, done, total);
                last = Some(done);
            }
            done
        };
        let purpose = format!("download {what}");
        let watch = Watch {
            purpose,
            silence: SILENCE,
            activity: &mut activity,
            cancelled: &|| self.progress.cancelled(),
        };
        let ended = run::run(command, watch).map_err(|error| CacheError::fetch(what, error));
        let adopted = self.adopt(&folder, debs);
        // apt's error explains the missing files.
        ended?;
        adopted?;
        object::remove_tree(&folder)?;
        match debs.iter().find(|d| !self.pooled(d).exists()) {
            None => Ok(()),
            Some(deb) => Err(CacheError::Digest {
                what: deb.exact(),
                expected: deb.sha256.clone(),
                found: "none of the downloaded files".to_owned(),
            }),
        }
    }

    /// Moves the files that have arrived whole to the pool.
    fn adopt(&self, folder: &Path, debs: &[&Deb]) -> Result<()> {
        let expected: BTreeMap<&str, &Deb> = debs.iter().map(|d| (d.sha256.as_str(), *d)).collect();
        for file in fs::read_dir(folder).map_err(CacheError::io("cannot list", folder))? {
            let path = file.map_err(CacheError::io("cannot list", folder))?.path();
            if !path.is_file() {
                continue;
            }
            let found = digest::file(&path)?;
            if let Some(deb) = expected.get(found.as_str()) {
                let synced = File::open(&path).and_then(|f| f.sync_data());
                synced.map_err(CacheError::io("cannot sync", &path))?;
                // apt gives the file the archive's time.
                note_use(&path);
                fs::rename(&path, self.pooled(deb))
                    .map_err(CacheError::io("cannot move into place", &path))?;
            }
        }
        Ok(())
    }
}

/// Notes the use for `gc`. A failure (the cache is read-only) changes nothing.
fn note_use(file: &Path) {
    let _ = File::open(file).and_then(|file| file.set_modified(clock::now()));
}
