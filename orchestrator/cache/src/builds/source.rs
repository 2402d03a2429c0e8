//! Sources of kernels, and their way into a build folder.

use crate::{
    Cache,
    builds::git_tree::{self, GitTree},
    debian::{
        apt::{Deb, Question, Scope},
        deb, suites,
    },
    error::{CacheError, Result},
    objects::lock,
};
use s2lab_os::outside::{Outside, kinds};
use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest wait for a lock: another process may read the same tree, possibly for the first
/// time.
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The source of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSource {
    /// A package of Debian's archive.
    Package(SourcePackage),
    /// A commit of a git repository. The repository is only read.
    Revision { repository: PathBuf, revision: String },
    /// A folder in its present state: of a git repository the committed and uncommitted files, but
    /// not those that git ignores.
    Folder(PathBuf),
}

/// A package such as `linux-source-6.1`, with a `usr/src/NAME.tar.xz` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    pub package: String,
    /// The version. None: the newest.
    pub version: Option<String>,
    pub suites: Vec<String>,
}

/// A source without patches, found but not unpacked.
pub(crate) struct Base {
    /// The digest of all its content.
    pub(crate) digest: String,
    /// The name of an object and a folder of it.
    pub(crate) name: String,
    /// The version for people: a package's version, a commit.
    pub(crate) version: String,
    /// Bases with the same room take turns in one build folder.
    pub(crate) room: String,
    kind: Kind,
}

enum Kind {
    Package { scope: Scope, deb: Deb },
    Git(GitTree),
}

impl Cache {
    pub(crate) fn source_base(&self, source: &KernelSource) -> Result<Base> {
        match source {
            KernelSource::Package(package) => self.package_base(package),
            KernelSource::Revision { repository, revision } => {
                Ok(git_base(git_tree::of_revision(repository, revision, &*self.progress)?))
            }
            KernelSource::Folder(folder) => {
                let private = self.build_root();
                let place = folder.canonicalize().map_err(CacheError::io("cannot find", folder))?;
                let name = git_tree::lock_name(&git_tree::place_digits(&place));
                let lock = lock::path(self.objects.root(), &name);
                let what = format!("the tree {}", place.display());
                let _lock = lock::acquire(&lock, &what, LOCK_LIMIT, &*self.progress)?;
                Ok(git_base(git_tree::of_folder(folder, &private, &*self.progress)?))
            }
        }
    }

    /// Returns a folder with the files directly in `folder` of a kernel's source, an object of
    /// `kind`. Blocks.
    pub fn source_files(&self, source: &SourcePackage, kind: &str, folder: &str) -> Result<PathBuf> {
        let (scope, deb) = self.source_package(source)?;
        let name = folder.rsplit('/').next().unwrap_or(folder);
        let object = self.objects.get(kind, name, &(&deb.sha256, folder), |building| {
            let files = self.apt.fetch(&deb.name, &scope, std::slice::from_ref(&deb))?;
            self.progress.step(&format!("unpacking {folder} of {} {}", deb.name, deb.version));
            let beside = building.dir.join("unpacked");
            for file in &files {
                let tree = unpack_some(file, &deb.name, &beside, &mut |path| is_in(folder, path))?;
                let (from, to) = (tree.join(folder), building.dir.join(name));
                fs::rename(&from, &to).map_err(CacheError::io("cannot move", &from))?;
            }
            building.packages = vec![deb.package()];
            crate::objects::object::remove_tree(&beside)
        })?;
        Ok(object.path.join(name))
    }

    fn package_base(&self, source: &SourcePackage) -> Result<Base> {
        let (scope, deb) = self.source_package(source)?;
        Ok(Base {
            digest: deb.sha256.clone(),
            name: source.package.clone(),
            version: deb.version.clone(),
            room: deb.sha256.clone(),
            kind: Kind::Package { scope, deb },
        })
    }

    fn source_package(&self, source: &SourcePackage) -> Result<(Scope, Deb)> {
        let name = &source.package;
        suites::check_package(name)?;
        let scope = Scope::new(&source.suites, &["arm64"])?;
        let exact = crate::parts::kernel::exact(name, source.version.as_deref());
        let debs = self
            .apt
            .resolve(Question::package(&exact), &scope, |apt| apt.newest(std::slice::from_ref(&exact)))?;
        match debs.as_slice() {
            [deb] => Ok((scope, deb.clone())),
            _ => Err(CacheError::malformed(name, format_args!("one package was expected, not {debs:?}"))),
        }
    }

    pub(crate) fn move_source_blocking(&self, source: &SourcePackage) -> Result<()> {
        suites::check_package(&source.package)?;
        let scope = Scope::new(&source.suites, &["arm64"])?;
        let exact = crate::parts::kernel::exact(&source.package, source.version.as_deref());
        self.apt
            .resolve_anew(Question::package(&exact), &scope, |apt| apt.newest(std::slice::from_ref(&exact)))
    }

    /// Makes `into` this source: a missing folder, or, with [`Base::changes_in_place`], one that
    /// was made from another base of the same room.
    pub(crate) fn bring(&self, base: &Base, into: &Path) -> Result<()> {
        match &base.kind {
            Kind::Git(tree) => tree.check_out(into, &*self.progress),
            Kind::Package { scope, deb } => {
                let files = self.apt.fetch(&base.name, scope, std::slice::from_ref(deb))?;
                self.progress.step(&format!("unpacking {} {}", base.name, base.version));
                files.iter().try_for_each(|file| unpack(file, &base.name, into))
            }
        }
    }
}

fn git_base(tree: GitTree) -> Base {
    Base {
        digest: tree.id.clone(),
        name: tree.name.clone(),
        version: tree.version.clone(),
        room: tree.room(),
        kind: Kind::Git(tree),
    }
}

impl Base {
    /// Returns true if [`Cache::bring`] writes only the differences. Otherwise the folder must be
    /// missing.
    pub(crate) fn changes_in_place(&self) -> bool {
        matches!(self.kind, Kind::Git(_))
    }
}

/// Returns true for a file directly in `folder` of an archive with one folder, whose name comes
/// first in `path`.
fn is_in(folder: &str, path: &str) -> bool {
    let inside = path.split_once('/').and_then(|(_, inside)| inside.rsplit_once('/'));
    inside.is_some_and(|(parent, _)| parent == folder)
}

/// Unpacks the archive inside of the package, which has one folder. That folder becomes `into`.
fn unpack(package: &Path, name: &str, into: &Path) -> Result<()> {
    let beside = into.with_extension("unpacked");
    crate::objects::object::remove_tree(&beside)?;
    let tree = unpack_some(package, name, &beside, &mut |_| true)?;
    fs::rename(&tree, into).map_err(CacheError::io("cannot move", &tree))?;
    crate::objects::object::remove_tree(&beside)
}

/// Unpacks the files that `keep` accepts below `beside`, a new folder. Returns the only folder of
/// the archive, which has them.
fn unpack_some(
    package: &Path,
    name: &str,
    beside: &Path,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<PathBuf> {
    s2lab_os::private::make(beside).map_err(CacheError::io("cannot create", beside))?;
    let inside = format!("usr/src/{name}.tar.xz");
    deb::unpack(package, beside, |path| path == inside)?;
    let archive = beside.join(&inside);
    let file = Outside::open(&archive, kinds::PACKAGE)?;
    let plain = lzma_rust2::XzReader::new(BufReader::with_capacity(1 << 20, file), true);
    let tree = beside.join("tree");
    fs::create_dir(&tree).map_err(CacheError::io("cannot create", &tree))?;
    deb::untar(plain, &tree, keep).map_err(|e| {
        match crate::objects::object::unwritable(&e) || s2lab_os::whole::no_room(&e) {
            true => CacheError::io("cannot unpack into", &tree)(e),
            false => CacheError::malformed(package.display(), e),
        }
    })?;
    let only = crate::parts::kernel::only_folder(&tree)?;
    Ok(tree.join(only))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_the_folder_itself_are_taken() {
        let is_taken = |path| is_in("tools/kunit", path);
        assert!(is_taken("linux-6/tools/kunit/parser.py"));
        for other in [
            "linux-6/tools/kunit/sub/x",
            "linux-6/other/tools/kunit/x",
            "tools/kunit/x",
            "linux-6/tools/kunit",
        ] {
            assert!(!is_taken(other), "{other}");
        }
    }
}
