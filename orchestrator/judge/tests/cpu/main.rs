//! The CPU of QEMU as judge of s2lab's walk, see `docs/judge.md`.
//!
//! `S2LAB_JUDGE_SEED` and `S2LAB_JUDGE_ROUNDS` ask other questions than the default ones, and
//! `S2LAB_JUDGE_QEMU` names another QEMU.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

mod machine;

use judge::{Order, deviations};
use machine::Bench;
use std::{collections::BTreeMap, env, fs, path::Path};

/// CPU models by what decides translations: bits of address, granules, FEAT_LPA2, FEAT_LVA,
/// FEAT_TTST, FEAT_S2FWB, FEAT_XNX. The second number is their share of the rounds: the first has
/// most features.
const MODELS: [(&str, u64); 7] = [
    ("max", 8),
    ("max,lpa2=off", 3),
    ("neoverse-v1", 3),
    ("neoverse-n1", 3),
    ("cortex-a57", 3),
    ("cortex-a53", 3),
    ("a64fx", 3),
];
/// The seed, unless another is given. A failure names it.
const SEED: u64 = 20_261_129;
/// The number of random regimes, for each share of a model.
const ROUNDS: u64 = 100;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn the_walk_agrees_with_the_cpu_on_every_question() {
    let bench = Bench::new();
    let (seed, rounds) = (number("S2LAB_JUDGE_SEED", SEED), number("S2LAB_JUDGE_ROUNDS", ROUNDS));
    let (mut known, mut kinds, mut failures) = (BTreeMap::new(), BTreeMap::new(), vec![]);
    for (model, share) in MODELS {
        let order = Order { seed, rounds: rounds * share, refusals: judge::REFUSALS <= bench.version() };
        match bench.judge(model, &order) {
            Ok(findings) => {
                println!("{model}: {findings}");
                assert!(findings.devices * 50 < findings.questions, "{model}, seed {seed}: {findings}");
                if findings.unexplained > 0 {
                    failures.push(format!("{model}, seed {seed}: {findings}"));
                }
                for (name, count) in findings.deviations {
                    *known.entry(name).or_insert(0) += count;
                }
                for (kind, count) in findings.kinds {
                    *kinds.entry(kind).or_insert(0) += count;
                }
            }
            Err(error) => failures.push(format!("{model}, seed {seed}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if (seed, rounds) != (SEED, ROUNDS) {
        return;
    }
    // Every kind of answer was asked for, and every row of the table explains something.
    for kind in KINDS {
        assert!(kinds.contains_key(kind), "no question has the answer: {kind}");
    }
    let version = bench.version();
    for row in deviations().iter().filter(|row| row.mended.is_none_or(|mended| version < mended)) {
        assert!(known.contains_key(row.name), "QEMU {version} does not show: {}", row.name);
    }
}

/// Answers that must be among those of the walk.
const KINDS: [&str; 33] = [
    "done",
    "translation",
    "stage 1: access flag fault, level 0",
    "stage 1: access flag fault, level 1",
    "stage 1: access flag fault, level 2",
    "stage 1: access flag fault, level 3",
    "stage 1: address size fault, level 0",
    "stage 1: address size fault, level 1",
    "stage 1: address size fault, level 2",
    "stage 1: address size fault, level 3",
    "stage 1: permission fault, level 0",
    "stage 1: permission fault, level 1",
    "stage 1: permission fault, level 2",
    "stage 1: permission fault, level 3",
    "stage 1: translation fault, level -1",
    "stage 1: translation fault, level 0",
    "stage 1: translation fault, level 1",
    "stage 1: translation fault, level 2",
    "stage 1: translation fault, level 3",
    "stage 2: access flag fault, level 1",
    "stage 2: access flag fault, level 2",
    "stage 2: access flag fault, level 3",
    "stage 2: access flag fault, level 3, in a walk of stage 1",
    "stage 2: address size fault, level 1",
    "stage 2: address size fault, level 2",
    "stage 2: address size fault, level 3",
    "stage 2: permission fault, level 3",
    "stage 2: permission fault, level 3, in a walk of stage 1",
    "stage 2: translation fault, level -1",
    "stage 2: translation fault, level 0",
    "stage 2: translation fault, level 1",
    "stage 2: translation fault, level 2",
    "stage 2: translation fault, level 3",
];

#[test]
fn the_document_has_every_deviation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/judge.md");
    let text = fs::read_to_string(path).unwrap();
    for row in deviations() {
        assert!(text.contains(row.name), "docs/judge.md does not have: {}", row.name);
        assert!(text.contains(row.source), "docs/judge.md does not have: {}", row.source);
    }
}
