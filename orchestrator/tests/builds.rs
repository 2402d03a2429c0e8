//! Kernels built from source through the cache, with a made-up tree and tools: no network, no
//! compiler.
//!
//! The programs on PATH decide which tools come from the cache, so each build is a process with a
//! PATH of ours.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

use s2lab_cache::{BuildConfig, Cache, ConfigFile, KernelBuild, KernelSource, Quiet, series::Patch};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

/// Names the fixture's folder for the process that builds.
const FIXTURE: &str = "S2LAB_TEST_FIXTURE";
/// Names the patches, by the letter of the file that they change.
const PATCHES: &str = "S2LAB_TEST_PATCHES";

/// A tree of three objects. Each object that is built is noted in `built` beside the tree. The
/// result has the magic of an arm64 Image.
const MAKEFILE: &str = r#"
OUT := $(O)/arch/arm64/boot
allnoconfig:
	@(cat $(KCONFIG_ALLCONFIG); echo CONFIG_ARM64=y) > $(O)/.config
prepare:
	@mkdir -p $(OUT) $(O)/include/config; echo 6.1.0-fake > $(O)/include/config/kernel.release
Image: $(OUT)/Image
$(O)/%.o: %.c
	@echo '  CC      $*.o'; echo $* >> NOTE; sleep 0.1; cp $< $@
$(OUT)/Image: $(O)/a.o $(O)/b.o $(O)/c.o
	@(head -c 56 /dev/zero; printf ARMd; cat $^; echo $$KBUILD_BUILD_TIMESTAMP) > $@; echo 0 T _text > $(O)/System.map
"#;

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let at = Self(tempfile::tempdir().unwrap());
        ["tools", "linux"].iter().for_each(|dir| fs::create_dir(at.path(dir)).unwrap());
        let gcc = "case $1 in --version) echo gcc of the test 12;; *) echo 12.2.0;; esac";
        let tools = [
            ("aarch64-linux-gnu-gcc", gcc),
            ("aarch64-linux-gnu-ld", "echo ld 1"),
            ("gcc", gcc),
            ("ld", "echo ld 1"),
            ("flex", ""),
            ("bison", ""),
            ("bc", ""),
        ];
        for (name, script) in tools {
            let path = at.path("tools").join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let makefile = MAKEFILE.replace("NOTE", &at.path("built").display().to_string());
        at.write("Makefile", &makefile);
        ["a", "b", "c"].iter().for_each(|file| at.write(&format!("{file}.c"), &format!("{file}\n")));
        at
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path("linux").join(file), text).unwrap();
    }

    /// Starts a process that builds and prints the result.
    fn start(&self, cache: &str, patches: &str) -> Child {
        let path = std::env::var_os("PATH").unwrap();
        let paths = std::iter::once(self.path("tools")).chain(std::env::split_paths(&path));
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "build_one", "--ignored", "--nocapture"])
            .env(FIXTURE, self.0.path())
            .env("S2LAB_TEST_CACHE", self.path(cache))
            .env(PATCHES, patches)
            .env("PATH", std::env::join_paths(paths).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn build(&self, cache: &str, patches: &str) -> Vec<String> {
        said(self.start(cache, patches))
    }

    /// Returns the objects that were built since the last call, sorted.
    fn built(&self) -> String {
        let mut built: Vec<String> =
            fs::read_to_string(self.path("built")).unwrap_or_default().lines().map(str::to_owned).collect();
        built.sort();
        let _ = fs::remove_file(self.path("built"));
        built.join(" ")
    }
}

fn said(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| line.strip_prefix("said: ")).map(str::to_owned).collect()
}

/// Not a test of its own: the other process runs it.
#[tokio::test]
#[ignore = "run by the tests below in a process of its own"]
async fn build_one() {
    let Some(fixture) = std::env::var_os(FIXTURE).map(PathBuf::from) else { return };
    let cache = std::env::var_os("S2LAB_TEST_CACHE").unwrap();
    let patch = |file: char| Patch {
        title: format!("change {file}"),
        diff: format!("--- a/{file}.c\n+++ b/{file}.c\n@@ -1 +1 @@\n-{file}\n+patched {file}\n").into_bytes(),
    };
    let build = KernelBuild {
        name: "fake".to_owned(),
        source: KernelSource::Folder(fixture.join("linux")),
        config: BuildConfig::Fragments(vec![ConfigFile {
            name: "fragment".to_owned(),
            text: "CONFIG_X=y\n".to_owned(),
        }]),
        patches: std::env::var(PATCHES).unwrap().chars().map(patch).collect(),
    };
    let cache = Cache::open(Path::new(&cache), true, Arc::new(Quiet)).unwrap();
    let kernel = cache.build_kernel(&build, &[]).await.unwrap();
    assert_eq!(cache.built_folder(&build).unwrap(), kernel.image.parent().map(Path::to_owned));
    println!("\nsaid: {}", kernel.image_sha256);
    println!("said: {} {}", kernel.release, kernel.package_version);
    println!(
        "said: {}",
        fs::read_to_string(&kernel.image).unwrap().split_once("ARMd").unwrap().1.replace('\n', " ")
    );
    println!("said: {}", fs::read_to_string(kernel.config.unwrap()).unwrap().replace('\n', " "));
    println!("said: {}", fs::read_to_string(kernel.system_map.unwrap()).unwrap());
}

#[test]
fn the_same_input_is_built_once_and_a_patch_builds_only_its_own() {
    let at = Fixture::new();
    let first = at.build("cache", "");
    assert_eq!(at.built(), "a b c");
    assert!(first[1].starts_with("6.1.0-fake tree "), "{first:?}");
    assert_eq!(first[2], "a b c 1970-01-01 00:00:00 UTC ");
    assert_eq!((first[3].as_str(), first[4].as_str()), ("CONFIG_X=y  CONFIG_ARM64=y ", "0 T _text"));
    assert_eq!(at.build("cache", ""), first);
    assert_eq!(at.built(), "", "it is in the cache");

    let patched = at.build("cache", "b");
    assert_eq!((at.built().as_str(), patched[2].as_str()), ("b", "a patched b c 1970-01-01 00:00:00 UTC "));
    assert!(patched[1].contains(" with 1 patch sha256:"), "{patched:?}");
    let both = at.build("cache", "bc");
    assert_eq!(
        (at.built().as_str(), both[2].as_str()),
        ("c", "a patched b patched c 1970-01-01 00:00:00 UTC ")
    );

    // A change of the tree is another input; the results of the first are not lost.
    at.write("a.c", "other\n");
    let other = at.build("cache", "");
    assert_eq!((at.built().as_str(), other[2].as_str()), ("a b c", "other b c 1970-01-01 00:00:00 UTC "));
    at.write("a.c", "a\n");
    assert_eq!((at.build("cache", ""), at.built().as_str()), (first, ""));
}

#[test]
fn two_that_want_the_same_at_once_build_it_once() {
    let at = Fixture::new();
    let both = [at.start("cache", ""), at.start("cache", "")].map(said);
    assert_eq!(both[0], both[1]);
    assert_eq!(at.built(), "a b c");
}

#[test]
fn the_same_bytes_wherever_it_is_built() {
    let at = Fixture::new();
    assert_eq!(at.build("cache", "ab"), at.build("another/cache", "ab"));
    assert_eq!(at.built(), "a a b b c c");
}
