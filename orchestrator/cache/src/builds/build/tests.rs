//! Builds of commits of a made-up tree that is built like a kernel.

use super::*;
use crate::{ConfigFile, Quiet};
use std::{collections::BTreeMap, sync::Arc};

/// A Makefile of two objects, and an Image with arm64's magic number. An object's source is a
/// script that makes it.
const MAKEFILE: &str = r#"
IMAGE := $(O)/arch/arm64/boot/Image
allnoconfig:
	@cat $(KCONFIG_ALLCONFIG) > $(O)/.config
prepare:
	@mkdir -p $(O)/arch/arm64/boot $(O)/include/config; echo 6.1.0-fake > $(O)/include/config/kernel.release; touch $(O)/System.map
Image: $(IMAGE)
$(O)/%.o: %.c
	@echo '  CC      $*.o'; sh ./$< > $@
$(IMAGE): $(O)/a.o $(O)/b.o
	@(head -c 56 /dev/zero; printf ARMd; cat $^) > $@
.DELETE_ON_ERROR:
"#;

struct Fixture {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Fixture {
    /// Makes a repository with the commits `base`, `a`, `broken`, `mended`, as tags, and a work
    /// tree in which somebody works.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let at = Self { dir, cache };
        fs::create_dir(at.tree()).unwrap();
        at.git(&["init", "-q"]);
        at.write("Makefile", MAKEFILE);
        at.write(".gitignore", "*.tmp\n");
        at.write("b.c", "echo b0\n");
        for (tag, a) in
            [("base", "echo a0\n"), ("a", "echo a1\n"), ("broken", "exit 7\n"), ("mended", "echo a2\n")]
        {
            at.write("a.c", a);
            at.git(&["add", "--all"]);
            at.git(&["commit", "-q", "-m", tag]);
            at.git(&["tag", tag]);
        }
        at
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("linux")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.tree().join(file), text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = crate::git::git();
        command.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
        command.current_dir(self.tree());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Builds, and returns the Image's objects and those that were built now.
    fn build(&self, source: KernelSource) -> Result<(String, Vec<String>)> {
        let fragment = ConfigFile { name: "x".into(), text: "CONFIG_ARM64=y".into() };
        let config = BuildConfig::Fragments(vec![fragment]);
        let build = KernelBuild { name: "k".into(), source, config, patches: Vec::new() };
        let base = self.cache.source_base(&build.source)?;
        let result = tempfile::tempdir().unwrap();
        let dir = result.path().to_owned();
        let mut building = Building { dir: dir.clone(), packages: Vec::new(), facts: BTreeMap::new() };
        self.cache.make_kernel(&mut building, &build, &base, &KernelTools::of_the_machine(), "key")?;
        let image = fs::read_to_string(dir.join(IMAGE)).unwrap();
        let room = self.cache.build_root().join(format!("{}-linux", &base.room[..NAME_DIGITS]));
        let log = fs::read_to_string(room.join("out/key/s2lab-build.log")).unwrap();
        let objects = log.lines().filter_map(|line| line.strip_prefix("  CC      ").map(str::to_owned));
        Ok((image[60..].replace('\n', " "), objects.collect()))
    }

    fn commit(&self, tag: &str) -> Result<(String, Vec<String>)> {
        self.build(KernelSource::Revision { repository: self.tree(), revision: tag.into() })
    }
}

fn objects(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn commits_are_built_one_after_the_other_and_only_what_differs() {
    let at = Fixture::new();
    let all = objects(&["a.o", "b.o"]);
    let (image, mut built) = at.commit("base").unwrap();
    built.sort();
    assert_eq!((image.as_str(), &built), ("a0 b0 ", &all));
    assert_eq!(at.commit("a").unwrap(), ("a1 b0 ".into(), objects(&["a.o"])));
    let error = at.commit("broken").unwrap_err();
    assert!(matches!(&error, CacheError::Build { said, .. } if said.contains("a.o")), "{error}");
    assert_eq!(at.commit("mended").unwrap(), ("a2 b0 ".into(), objects(&["a.o"])));
    assert_eq!(at.commit("base").unwrap(), ("a0 b0 ".into(), objects(&["a.o"])));
}

#[test]
fn the_tree_in_which_somebody_works_is_only_read() {
    let at = Fixture::new();
    at.write("b.c", "echo 'b at work'\n");
    at.write("c.c", "not added yet\n");
    at.write("x.tmp", "ignored\n");
    let state = || {
        let index = fs::read(at.tree().join(".git/index")).unwrap();
        let mut files: Vec<_> =
            fs::read_dir(at.tree()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        (index, files, at.git(&["rev-parse", "HEAD"]))
    };
    let before = state();
    assert_eq!(at.commit("mended").unwrap().0, "a2 b0 ");
    assert_eq!(
        at.build(KernelSource::Folder(at.tree())).unwrap(),
        ("a2 b at work ".into(), objects(&["b.o"]))
    );
    assert_eq!(state(), before);
    assert_eq!(at.git(&["status", "--porcelain"]), " M b.c\n?? c.c\n");
}

/// make would write to the path before the space.
#[test]
fn a_cache_that_make_would_misread_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("my cache");
    let cache = Cache::open(&folder, true, Arc::new(Quiet)).unwrap();
    let before: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let source = KernelSource::Revision { repository: dir.path().join("gone"), revision: "HEAD".into() };
    let config = BuildConfig::Fragments(vec![]);
    let build = KernelBuild { name: "k".into(), source, config, patches: Vec::new() };
    let error = cache.build_blocking(&build, &[]).err().unwrap();
    let shown = folder.join("build/kernel");
    let due = format!(
        "no kernel can be built in {}: make and the kernel's Makefiles misread ' ' in a path",
        shown.display()
    );
    assert_eq!(error.to_string(), due);
    assert!(error.hint().unwrap().contains("XDG_CACHE_HOME"));
    let after: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((before, fs::read_dir(dir.path()).unwrap().count()), (after, 1));
}
