//! Kernels that are fetched: `--kernel URL#sha256=DIGEST`, and modules like them.

use crate::{harness::Home, served::Served};
use s2lab_cache::{Cache, Quiet};
use s2lab_model::{hash::digest, plan::Artifact};
use s2lab_os::outside::Kind;
use std::{fs, process::Output, sync::Arc};

fn run(home: &Home, arguments: &[&str]) -> Output {
    let arguments = [&["run", "idle"], arguments].concat();
    home.command(&arguments).env("APT_CONFIG", home.path("apt.conf")).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the objects of artifacts that the cache has.
fn artifacts(home: &Home) -> Vec<String> {
    let is_artifact = |path: &String| path.contains("objects/artifact") && !path.ends_with(".lock");
    home.tree("cache").into_iter().filter(is_artifact).collect()
}

/// Packs an archive of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    let mut archive = tar::Builder::new(packed);
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // `set_path` refuses what an enemy writes.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn image(home: &Home) -> Vec<u8> {
    home.image("Image");
    fs::read(home.path("Image")).unwrap()
}

#[test]
fn a_kernel_is_fetched_once_and_has_its_digest() {
    let home = Home::new();
    let image = image(&home);
    let Some(served) = Served::new(&home) else { return };
    served.serve("Image", &image);
    let kernel = format!("{}#sha256={}", served.url("Image"), digest(&image));
    let offline = run(&home, &["--kernel", &kernel, "--offline"]);
    assert_eq!(offline.status.code(), Some(3));
    assert!(
        said(&offline).contains(&format!("offline, and the cache does not have {kernel}")),
        "{}",
        said(&offline)
    );
    assert_eq!((served.asked(), home.tree("state")), (vec![], vec![]));

    // The run itself ends early: there is no QEMU.
    let first = run(&home, &["--kernel", &kernel]);
    assert_eq!(first.status.code(), Some(3));
    assert!(said(&first).contains(&format!("fetching {}\n", served.url("Image"))), "{}", said(&first));
    assert_eq!(served.asked(), ["/Image"]);
    let log =
        fs::read_to_string(home.path("state/s2lab/runs").join(&home.runs()[0]).join("events.jsonl")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let plan = &plan["event"]["plan"];
    assert_eq!(plan["kernels"]["image"]["about"], format!("a file, {kernel}"));
    assert_eq!(plan["cells"][0]["repeat"], serde_json::json!(["run", "idle@image", "--kernel", kernel]));

    let again = run(&home, &["--kernel", &kernel, "--offline"]);
    assert!(!said(&again).contains("does not have http") && home.runs().len() == 2, "{}", said(&again));
    assert_eq!(served.asked(), Vec::<String>::new(), "the cache has it");
}

/// Nothing of it is kept, and no run is made.
#[test]
fn another_file_is_refused() {
    let home = Home::new();
    let (image, text) = (image(&home), b"not a kernel\n".to_vec());
    let Some(served) = Served::new(&home) else { return };
    served.serve("Image", &image);
    served.serve("text", &text);
    let refused = |kernel: &str, modules: Option<&str>| {
        let modules = modules.into_iter().flat_map(|modules| ["--modules", modules]);
        let output = run(&home, &["--kernel", kernel].into_iter().chain(modules).collect::<Vec<_>>());
        assert_eq!(home.tree("state"), Vec::<String>::new());
        (output.status.code(), said(&output))
    };
    let url = |path: &str, bytes: &[u8]| format!("{}#sha256={}", served.url(path), digest(bytes));
    let (code, text_said) = refused(&url("Image", b"other"), None);
    let due = format!(
        "error: {}: it has SHA-256 {}, expected {}; nothing of it is kept\n",
        served.url("Image"),
        digest(&image),
        digest(b"other")
    );
    assert!(code == Some(2) && text_said.contains(&due), "{text_said}");
    assert_eq!(
        artifacts(&home).iter().filter(|path| path.ends_with("/artifact")).count(),
        0,
        "{:?}",
        artifacts(&home)
    );

    for (kernel, modules, exit, why) in [
        (url("none", b""), None, 3, "404"),
        (url("text", &text), None, 2, "not an arm64 kernel's Image"),
        (served.url("Image"), None, 2, "has no digest: a file to fetch is URL#sha256=DIGEST"),
        (url("Image", &image), Some(served.url("text")), 2, "has no digest"),
        (url("Image", &image), Some(url("text", b"other")), 2, "it has SHA-256"),
        (url("Image", &image), Some(url("text", &text)), 2, "it is not an archive"),
    ] {
        let (code, said) = refused(&kernel, modules.as_deref());
        assert!(code == Some(exit) && said.contains(why), "{kernel} {modules:?}: {code:?} {said}");
    }
}

/// The limit of a kind counts for what a server sends.
#[test]
fn a_file_above_the_limit_of_its_kind_is_refused() {
    let home = Home::new();
    let Some(served) = Served::new(&home) else { return };
    let bytes = vec![7; 100_000];
    let artifact = Artifact { url: served.serve("x", &bytes), sha256: digest(&bytes) };
    let cache = Cache::open(&home.path("cache"), false, Arc::new(Quiet)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fetch = |limit| runtime.block_on(cache.artifact(&artifact, Kind { name: "a test", limit }));
    let refused = fetch(99_999).unwrap_err().to_string();
    assert_eq!(refused, format!("{}: it is larger than 97 KiB, the limit of a test", artifact.url));
    assert!(!home.tree("cache").iter().any(|path| path.ends_with("/artifact")));
    assert_eq!(fs::read(fetch(100_000).unwrap()).unwrap(), bytes);
}

#[test]
fn modules_come_out_of_an_archive() {
    let home = Home::new();
    let image = image(&home);
    let release = "6.12.95";
    let list = format!("./lib/modules/{release}/modules.builtin");
    let module = format!("lib/modules/{release}/kernel/x.ko");
    let source = format!("lib/modules/{release}/build/Makefile");
    let good = archive(&[(&list, b"kernel/fs/ext4.ko\n"), (&module, b"no ELF"), (&source, b"all:\n")]);
    let hostile = archive(&[(&module, b"no ELF"), ("../../../x.ko", b"x")]);
    let empty = archive(&[(&list, b"")]);
    let Some(served) = Served::new(&home) else { return };
    for (path, bytes) in [("Image", &image), ("good", &good), ("hostile", &hostile), ("empty", &empty)] {
        served.serve(path, bytes);
    }
    let url = |path: &str, bytes: &[u8]| format!("{}#sha256={}", served.url(path), digest(bytes));
    let kernel = url("Image", &image);
    let with = |modules: &str| {
        let output = run(&home, &["--kernel", &kernel, "--modules", modules]);
        (output.status.code(), said(&output))
    };
    let (code, said) = with(&url("hostile", &hostile));
    assert!(code == Some(2) && said.contains("a path that leaves the archive"), "{said}");
    let (code, said) = with(&url("empty", &empty));
    assert!(code == Some(2) && said.contains("it is not an archive with kernel modules"), "{said}");
    assert!(!home.tree("").iter().any(|path| path.ends_with("/x.ko")), "nothing of them is kept");
    assert_eq!(home.tree("state"), Vec::<String>::new());

    // The module is read, and is none.
    let (code, said) = with(&url("good", &good));
    assert!(code != Some(0) && said.contains("kernel/x.ko: Invalid ELF"), "{said}");
    let kept: Vec<_> =
        artifacts(&home).into_iter().filter(|path| path.contains(release) && !path.ends_with('/')).collect();
    assert_eq!(kept.len(), 2, "the list and the module: {kept:?}");
}
