//! Fuzz targets. Input from outside (page tables, scenarios, frames, packets, logs, mails, packed
//! files, bundles, programs and their output) must never make s2lab panic, hang or contradict
//! itself. A target is a function of bytes that asserts it. libFuzzer makes the bytes, from the
//! seeds under `corpus/`. `.ci/fuzz` runs the targets. The tests here run every seed and every
//! finding through its target without libFuzzer.

mod bundle;
mod channels;
mod frames;
mod log;
mod memory;
mod packed;
mod programs;
mod ptdump;
mod series;
mod stage1;
mod stage2;
mod trace;
mod yaml;

/// A function that uses the bytes and panics on a finding.
pub type Target = fn(&[u8]);

/// All targets by name, which is also the name of the folder with the target's seeds.
pub const TARGETS: [(&str, Target); 15] = [
    ("stage2", stage2::walk),
    ("stage1", stage1::translate),
    ("scenario", yaml::scenario),
    ("kernels", yaml::kernels),
    ("frames", frames::take),
    ("gdb", channels::gdb),
    ("qmp", channels::qmp),
    ("log", log::report),
    ("mailbox", series::mailbox),
    ("packed", packed::members),
    ("bundle", bundle::open),
    ("trace", trace::faults),
    ("ptdump", ptdump::lines),
    ("ktap", programs::ktap),
    ("elf", programs::elf),
];

/// Returns the target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_seed_and_every_finding_is_survived() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut folders = BTreeSet::new();
        for folder in fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()) {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let target = target(&name).unwrap_or_else(|| panic!("no target {name}"));
            let seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name} has no seed");
            for seed in seeds {
                // A panic does not name the seed.
                println!("{}", seed.display());
                target(&fs::read(seed).unwrap());
            }
            folders.insert(name);
        }
        assert_eq!(
            folders,
            TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect(),
            "targets with seeds"
        );
    }
}
