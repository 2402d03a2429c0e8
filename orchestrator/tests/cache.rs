//! The cache's interface, without a network.

use s2lab_cache::{Cache, CacheError, DebianKernel, Progress, Quiet};
use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

fn cloud(suites: &[&str]) -> DebianKernel {
    let suites = suites.iter().map(|s| (*s).to_owned()).collect();
    DebianKernel { package: "linux-image-cloud-arm64".to_owned(), version: None, suites }
}

/// Collects the cache's messages.
#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Progress for Said {
    fn step(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
    }

    fn download(&self, what: &str, _: u64, _: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
    }
}

#[tokio::test]
async fn offline_and_empty_names_what_is_missing_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let said = Arc::new(Said::default());
    let cache = Cache::open(dir.path(), true, said.clone()).unwrap();
    let error = cache.kernel(&cloud(&["bookworm"]), &[]).await.unwrap_err();
    assert!(
        matches!(&error, CacheError::Offline { missing } if missing.contains("linux-image-cloud-arm64")),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--offline"));
    let error = cache.host_userland().await.unwrap_err();
    assert!(matches!(error, CacheError::Offline { .. }), "{error}");
    assert_eq!(*said.0.lock().unwrap(), Vec::<String>::new());
    assert!(!dir.path().join("apt").exists());
}

#[tokio::test]
async fn names_from_a_lab_folder_cannot_become_options_or_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), true, Arc::new(Quiet)).unwrap();
    for kernel in [
        DebianKernel { package: "-oDir=x".to_owned(), ..cloud(&["bookworm"]) },
        DebianKernel { package: "a b".to_owned(), ..cloud(&["bookworm"]) },
        cloud(&["bookworm\ndeb [trusted=yes] x"]),
        cloud(&["../x"]),
    ] {
        let error = cache.kernel(&kernel, &[]).await.unwrap_err();
        assert!(matches!(error, CacheError::BadName { .. }), "{kernel:?}: {error}");
    }
}

#[tokio::test]
async fn a_file_becomes_a_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("a cache"), true, Arc::new(Quiet)).unwrap();
    let image = dir.path().join("my Image");
    let mut bytes = vec![1; 4096];
    // The size in memory is unknown.
    bytes[16..24].fill(0);
    bytes[56..60].copy_from_slice(b"ARM\x64");
    fs::write(&image, &bytes).unwrap();

    let built_in = cache.image(&image, None, &["vfio_pci"]).await.unwrap();
    assert_eq!(fs::read(&built_in.image).unwrap(), bytes);
    let again = cache.image(&image, None, &["vfio_pci"]).await.unwrap();
    assert_eq!((again.image, again.modules), (built_in.image.clone(), built_in.modules));

    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("modules.builtin"), "").unwrap();
    let without = cache.image(&image, Some(&tree), &["vfio-pci"]).await.unwrap();
    assert_eq!(without.absent, ["vfio_pci"]);
    fs::write(tree.join("modules.builtin"), "kernel/drivers/vfio/pci/vfio-pci.ko\n").unwrap();
    assert_eq!(cache.image(&image, Some(&tree), &["vfio-pci"]).await.unwrap().absent, Vec::<String>::new());

    fs::write(&image, "no kernel").unwrap();
    let error = cache.image(&image, None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("it is a text, not an arm64 kernel's Image"), "{error}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::open(&file.join("cache"), true, Arc::new(Quiet)).err().unwrap();
    assert!(error.to_string().contains("file/cache"), "{error}");
}
