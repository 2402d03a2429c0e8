//! Benchmark of a kernel build by s2lab against plain `make` with the same source, configuration
//! and tools, in turns.
//!
//! `cargo bench --bench kernel_build [ROUNDS]`; a round is two whole builds of a small kernel. The
//! first run fetches the source. The time of s2lab covers all that a run waits for once the source
//! is unpacked: patches, configuration, counting, make, and storing the result.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark ends at the first thing that is wrong")]

use s2lab_cache::{
    BuildConfig, Cache, CacheError, ConfigFile, Kernel, KernelBuild, KernelSource, Quiet, SourcePackage,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// The options that every kernel of a lab folder needs.
const CONFIG: &str = include_str!("../../images/config/boot.config");
/// An option that no kernel has, so that a build ends once its source is there.
const NO_OPTION: &str = "CONFIG_S2LAB_BENCHMARK=y\n";

#[tokio::main]
async fn main() {
    // Cargo adds `--bench`.
    let rounds = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel_build");
    let cache = Cache::open(&folder, false, Arc::new(Quiet)).unwrap();
    match cache.build_kernel(&build(NO_OPTION), &[]).await {
        Err(CacheError::Config { .. }) => {}
        other => panic!("the source was to be unpacked, and nothing built: {other:?}"),
    }
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        clear(&folder);
        let started = Instant::now();
        let kernel = cache.build_kernel(&build(""), &[]).await.unwrap();
        let ours = started.elapsed();
        let plain = make(&cache, &kernel, &source(&folder), &folder.join("plain"));
        let ratio = ours.as_secs_f64() / plain.as_secs_f64();
        println!("round {round}: s2lab {ours:.1?}, make {plain:.1?}, ratio {ratio:.3}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of {rounds}: {:.3}", ratios[ratios.len() / 2]);
    clear(&folder);
}

/// Returns a build whose configuration also has `more`.
fn build(more: &str) -> KernelBuild {
    let package = "linux-source-6.1".to_owned();
    let source = SourcePackage { package, version: None, suites: vec!["bookworm".to_owned()] };
    let fragment = ConfigFile { name: "boot.config".to_owned(), text: format!("{CONFIG}{more}") };
    KernelBuild {
        name: "linux-6.1".to_owned(),
        source: KernelSource::Package(source),
        config: BuildConfig::Fragments(vec![fragment]),
        patches: Vec::new(),
    }
}

/// Removes what was built.
fn clear(cache: &Path) {
    let folders = [cache.join("objects/kernel"), room(cache).join("out"), cache.join("plain")];
    for folder in folders.iter().filter(|folder| folder.exists()) {
        fs::remove_dir_all(folder).unwrap();
    }
}

/// Returns the one folder in which kernels are built.
fn room(cache: &Path) -> PathBuf {
    fs::read_dir(cache.join("build/kernel")).unwrap().next().unwrap().unwrap().path()
}

fn source(cache: &Path) -> PathBuf {
    room(cache).join("source")
}

/// Builds with the commands of a developer, and returns the time.
fn make(cache: &Cache, kernel: &Kernel, source: &Path, out: &Path) -> Duration {
    fs::create_dir_all(out).unwrap();
    fs::copy(kernel.config.as_ref().unwrap(), out.join(".config")).unwrap();
    // The tools that the machine does not have.
    let items = cache.items().unwrap();
    let tools = items.iter().filter(|item| (&*item.kind, &*item.name) == ("toolchain", "kernel"));
    let tools = tools.map(|item| item.path.join("tools"));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(tools.chain(env::split_paths(&path))).unwrap();
    let jobs = thread::available_parallelism().unwrap();
    let mut command = Command::new("make");
    command.arg("-C").arg(source).arg(format!("O={}", out.display())).arg(format!("-j{jobs}"));
    let cross = if cfg!(target_arch = "aarch64") { "" } else { "aarch64-linux-gnu-" };
    command.args(["ARCH=arm64", &format!("CROSS_COMPILE={cross}"), "Image"]);
    command.env("PATH", path).env("LC_ALL", "C").stdout(Stdio::null());
    let started = Instant::now();
    assert!(command.status().unwrap().success());
    started.elapsed()
}
