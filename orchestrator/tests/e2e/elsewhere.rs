//! s2lab far from its checkout, on a machine without apt and cargo: all parts are brought.

use crate::{
    harness::{Place, left_over},
    kill::own_cache,
};
use s2lab_cache::{Cache, DebianKernel, Qemu, Quiet};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Copies the parts of the machine's cache to `folder`, and returns the arguments that name them.
async fn parts(folder: &Path) -> Vec<String> {
    let cache = Cache::open(&own_cache().join("s2lab"), false, Arc::new(Quiet)).unwrap();
    let debian = DebianKernel {
        version: None,
        package: "linux-image-cloud-arm64".to_owned(),
        suites: vec!["bookworm-backports".to_owned()],
    };
    let kernel = cache.kernel(&debian, &[]).await.unwrap();
    let modules = kernel.image.parent().unwrap().to_str().unwrap().to_owned();
    let bring = |from: &Path| {
        let to = folder.join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to.to_str().unwrap().to_owned()
    };
    let image = bring(&kernel.image);
    let rootfs = bring(&cache.host_userland().await.unwrap().archive);
    let agent = bring(&cache.agent().await.unwrap().program);
    let config = bring(&kernel.config.unwrap());
    let qemu = script(folder, &cache.qemu().await.unwrap()).to_str().unwrap().to_owned();
    [
        ("--kernel", &image),
        ("--modules", &modules),
        ("--config", &config),
        ("--guest-kernel", &image),
        ("--guest-modules", &modules),
        ("--rootfs", &rootfs),
        ("--agent", &agent),
        ("--qemu", &qemu),
    ]
    .into_iter()
    .flat_map(|(argument, value)| [argument.to_owned(), value.clone()])
    .collect()
}

/// Makes a program that starts this QEMU.
fn script(folder: &Path, qemu: &Qemu) -> PathBuf {
    let words =
        std::iter::once(qemu.program.as_os_str()).chain(qemu.args.iter().map(|word| word.as_os_str()));
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let path = folder.join("qemu");
    fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A host of its own, because all of its parts are brought.
#[test]
fn brought_parts_do_on_a_machine_with_nothing() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let parts = s2lab::runtime::block_on(parts(folder.path())).unwrap();
    let (program, empty) = (folder.path().join("s2lab"), folder.path().join("empty"));
    fs::copy(env!("CARGO_BIN_EXE_s2lab"), &program).unwrap();
    fs::create_dir(&empty).unwrap();
    // Hosts take turns with all others of the machine.
    let (slots, own) = (own_cache().join("s2lab/slots"), cache.path().join("s2lab"));
    fs::create_dir_all(&slots).unwrap();
    fs::create_dir_all(&own).unwrap();
    symlink(slots, own.join("slots")).unwrap();

    let place = Place::with_cache(cache.path());
    let mut command = place.command_of(&program, ["run", "vfio-pci-bar+fwb=no"]);
    let child = command.args(parts).current_dir(&empty).env("PATH", &empty).spawn().unwrap();
    let run = place.finish(child);
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("nic Normal-NC   as wc-honoured"), "{}", run.stdout);
    assert_eq!(left_over(&place), Vec::<String>::new());

    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    // Neither packages nor build folders are there.
    assert_eq!(names(&own.join("objects")), ["image", "lab", "locks", "userland"]);
    assert!(!own.join("apt").exists() && !own.join("build").exists());
}
