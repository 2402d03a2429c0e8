//! Fills a store and says what came out and how long it took: `store_trial CACHE [--offline]`.

use s2lab::store::{DebianKernel, Progress, Store, StoreError};
use std::{path::Path, sync::Arc, time::Instant};

struct Lines;

impl Progress for Lines {
    fn step(&self, what: &str) {
        eprintln!("  {what}");
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        if done == total {
            eprintln!("  {what}: {:.1} MB", total as f64 / 1e6);
        }
    }
}

#[tokio::main]
async fn main() {
    if let Err(e) = fill().await {
        eprintln!("error: {e}");
        if let Some(hint) = e.hint() {
            eprintln!("hint: {hint}");
        }
        std::process::exit(1);
    }
}

async fn fill() -> Result<(), StoreError> {
    let mut arguments = std::env::args().skip(1);
    let cache = arguments.next().unwrap_or_else(|| "target/store_trial".to_owned());
    let store =
        Store::open(Path::new(&cache), arguments.next().as_deref() == Some("--offline"), Arc::new(Lines))?;
    let suites = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let kernel = |names: &[&str]| DebianKernel {
        package: "linux-image-cloud-arm64".to_owned(),
        suites: suites(names),
    };
    let wanted = ["virtio_pci", "virtio_console", "vfio_pci", "vfio_iommu_type1"];

    let start = Instant::now();
    let qemu = store.qemu().await?;
    println!("{:8.3} s  {qemu:?}", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let old = store.kernel(&kernel(&["bookworm", "bookworm-security"]), &wanted).await?;
    println!("{:8.3} s  {old:?}", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let new = store.kernel(&kernel(&["bookworm-backports"]), &wanted).await?;
    println!("{:8.3} s  {new:?}", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let userland = store.host_userland().await?;
    println!(
        "{:8.3} s  {:?} qemu {}",
        start.elapsed().as_secs_f64(),
        userland.archive,
        userland.qemu_version
    );
    let start = Instant::now();
    let agent = store.agent(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))).await?;
    println!("{:8.3} s  {agent:?}", start.elapsed().as_secs_f64());
    Ok(())
}
