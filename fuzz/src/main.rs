//! libFuzzer's program for all targets. `S2LAB_FUZZ` names the target; the arguments are
//! libFuzzer's own.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use s2lab_fuzz::{TARGETS, Target, target};
use std::sync::OnceLock;

fn chosen() -> Target {
    let name = std::env::var("S2LAB_FUZZ").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let known: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("S2LAB_FUZZ={name}: there is no such target; there are {}", known.join(" "));
        std::process::exit(2)
    })
}

fuzz_target!(|data: &[u8]| -> Corpus {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    CHOSEN.get_or_init(chosen)(data);
    Corpus::Keep
});
