use super::*;
use crate::kernel::Trait;
use crate::scenario::load;

/// Every optional key of a scenario is here, so that each has a value to change.
const TEXT: &str = "\
scenario: bar
about: One sentence.
promises: [I1, I4]
host:
  cpu: neoverse-v1
  memory: 2G
  devices: {nic: {model: ivshmem-plain, bar: 16M}, gpu: {model: ivshmem-plain, bar: 32M}}
  arguments: [kvm-arm.mode=nvhe]
guests:
  g0: {vmm: qemu, memory: 256M, assign: {nic: vfio-pci}}
steps:
  - store: {guest: g0, device: nic, map: wc, width: [8, 64], bytes: 16K}
  - look: {name: stored}
  - host: {reset: nic}
  - probe: {guest: g0, device: nic, map: wc}
expect:
  - {at: [stored], of: nic, stage2: Normal-NC, effective: Normal-NC, exec: never, when: [wc-honoured]}
  - {of: nic, unaligned: ok, when: wc-honoured}
  - {at: stored, of: ram, stage2: Normal-WB, unless: wc-honoured}
";

/// The same in other words: comments, `about`, the order of keys, sizes, quotes, one item or a list.
const SAME: &str = r#"# A comment.
about: "Another sentence."
expect:
  - {when: wc-honoured, exec: never, effective: Normal-NC, stage2: Normal-NC, of: nic, at: stored}
  - {unaligned: ok, when: [wc-honoured], of: nic}
  - {unless: [wc-honoured], at: [stored], stage2: Normal-WB, of: ram}
steps:
  # Another comment.
  - store: {bytes: 16384, width: [8, 64], map: wc, device: nic, guest: g0}
  - look: {name: stored}
  - host: {reset: nic}
  - probe: {map: wc, device: nic, guest: g0}
guests:
  g0:
    assign: {nic: vfio-pci}
    vmm: qemu
host:
  arguments: [kvm-arm.mode=nvhe]
  devices:
    gpu: {bar: 32768K, model: ivshmem-plain}
    nic: {bar: "16M", model: ivshmem-plain}
  memory: 2048M
  cpu: "neoverse-v1"
promises: [I4, I1, I17]
scenario: bar
"#;

fn honours() -> Traits {
    Traits::Exactly([Trait::WcHonoured].into())
}

fn resolved(text: &str) -> ResolvedCell {
    let scenario = load("bar.yaml", text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    ResolvedCell::of(&scenario, honours())
}

#[test]
fn what_decides_nothing_leaves_the_digest() {
    assert_eq!(resolved(SAME), resolved(TEXT));
    assert_eq!(resolved(SAME).digest(), resolved(TEXT).digest());
    assert_ne!(load("bar.yaml", SAME), load("bar.yaml", TEXT), "the written scenarios differ");
}

/// The name is in the cell's key, which has a line of its own in a report.
#[test]
fn a_scenario_may_have_another_name() {
    let renamed = load("nic.yaml", &TEXT.replace("scenario: bar", "scenario: nic")).unwrap();
    assert_eq!(ResolvedCell::of(&renamed, honours()).digest(), resolved(TEXT).digest());
}

#[test]
fn each_change_of_what_decides_changes_the_digest() {
    let digest = resolved(TEXT).digest();
    for (from, to) in [
        ("[I1, I4]", "[I1]"),
        ("neoverse-v1", "neoverse-n1"),
        ("2G", "3G"),
        ("bar: 16M", "bar: 8M"),
        (", gpu: {model: ivshmem-plain, bar: 32M}", ""),
        ("nvhe", "protected"),
        ("  arguments: [kvm-arm.mode=nvhe]\n", ""),
        ("256M", "257M"),
        ("assign: {nic: vfio-pci}}", "assign: {nic: vfio-pci, gpu: vfio-pci}}"),
        ("guests:\n", "guests:\n  g1: {vmm: qemu}\n"),
        ("store: {guest: g0, device: nic, map: wc", "store: {guest: g0, device: nic, map: device"),
        ("[8, 64]", "[8, 16]"),
        ("[8, 64]", "[64, 8]"),
        ("16K", "32K"),
        ("  - host: {reset: nic}\n", ""),
        ("  - host: {reset: nic}\n", "  - host: {reset: nic}\n  - look: {name: again}\n"),
        ("probe: {guest: g0, device: nic, map: wc}", "probe: {guest: g0, device: nic, map: device}"),
        ("stage2: Normal-NC, ", ""),
        ("stage2: Normal-NC", "stage2: Device-nGnRE"),
        ("effective: Normal-NC, ", ""),
        ("exec: never, ", ""),
        ("unaligned: ok", "unaligned: fault"),
        ("exec: never, when: [wc-honoured]", "exec: never, when: [wc-conveyed, wc-honoured]"),
        ("  - {of: nic, unaligned: ok, when: wc-honoured}\n", ""),
        ("unless: wc-honoured", "unless: [wc-conveyed, wc-honoured]"),
    ] {
        assert!(TEXT.contains(from), "{from}");
        assert_ne!(resolved(&TEXT.replacen(from, to, 1)).digest(), digest, "{from} -> {to}");
    }
}

/// The keys of accesses: each changes the digest, and a default that is written does not.
#[test]
fn the_manner_of_an_access_changes_the_digest_unless_it_is_the_default() {
    let text = TEXT.replace("vmm: qemu, memory", "vmm: qemu, vcpus: 2, memory");
    let digest = |keys: &str| resolved(&text.replace("bytes: 16K}", &format!("bytes: 16K{keys}}}"))).digest();
    assert_ne!(digest(""), resolved(TEXT).digest(), "vCPUs");
    assert_eq!(digest(", order: sequential, barrier: none, chunk: 64, seed: 1, vcpus: 1"), digest(""));
    let mut known = vec![digest("")];
    for keys in [
        ", order: strided",
        ", order: random",
        ", order: random, seed: 2",
        ", barrier: dmb",
        ", barrier: dsb",
        ", from: 64",
        ", chunk: 128",
        ", vcpus: 2",
    ] {
        let one = digest(keys);
        assert!(!known.contains(&one), "{keys}");
        known.push(one);
    }
    let probe = |word: &str| {
        resolved(&TEXT.replace("map: wc}\nexpect", &format!("map: wc{word}}}\nexpect"))).digest()
    };
    assert_eq!(probe(", do: store"), probe(""));
    let other =
        TEXT.replace("unaligned: ok", "zva: ok").replace("map: wc}\nexpect", "map: wc, do: zva}\nexpect");
    assert_ne!(resolved(&other).digest(), probe(""));
}

/// A report has them as a fact of their own.
#[test]
fn the_traits_of_a_kernel_leave_the_digest() {
    let sets = [BTreeSet::new(), [Trait::WcConveyed].into(), [Trait::WcHonoured].into(), Trait::ALL.into()];
    let all = sets.clone().map(Traits::Exactly).into_iter().chain(sets.map(Traits::AtLeast));
    let texts: Vec<_> = all
        .map(|traits| {
            let cell = ResolvedCell { traits: traits.clone(), ..resolved(TEXT) };
            assert_eq!(cell.digest(), resolved(TEXT).digest(), "{traits:?}");
            traits.to_string()
        })
        .collect();
    assert_eq!(
        texts,
        [
            "none",
            "wc-conveyed",
            "wc-honoured",
            "wc-conveyed, wc-honoured, pfnmap-stage1-leaf, cacheable-by-vma, protected-ram-alone",
            "any",
            "at least wc-conveyed",
            "at least wc-honoured",
            "at least wc-conveyed, wc-honoured, pfnmap-stage1-leaf, cacheable-by-vma, protected-ram-alone",
        ]
    );
}

#[test]
fn a_trait_of_shape_blocks_only_if_an_expectation_names_it() {
    let blocking = |text: &str, traits: Traits| ResolvedCell { traits, ..resolved(text) }.blocking_traits();
    let (both, all) = ([Trait::WcConveyed, Trait::WcHonoured].into(), BTreeSet::from(Trait::ALL));
    assert_eq!(blocking(TEXT, Traits::Exactly(all.clone())), Traits::Exactly(both));
    let shape = BTreeSet::from([Trait::PfnmapStage1Leaf]);
    assert_eq!(blocking(TEXT, Traits::AtLeast(shape)), Traits::AtLeast(BTreeSet::new()));
    let named = TEXT.replacen("wc-honoured", "pfnmap-stage1-leaf", 1);
    assert_ne!(named, TEXT);
    let named_ones = BTreeSet::from([Trait::WcConveyed, Trait::WcHonoured, Trait::PfnmapStage1Leaf]);
    assert_eq!(blocking(&named, Traits::Exactly(all)), Traits::Exactly(named_ones));
}

/// A key that a cell does not use is not in its JSON. Otherwise the next optional key would change
/// every digest.
#[test]
fn the_canonical_form_has_only_keys_with_a_value() {
    let text = "{scenario: bar, about: x, host: {cpu: max}, guests: {g0: {vmm: qemu}}, \
                steps: [look: {name: up}], expect: [{at: up, of: ram, stage2: Normal-WB}]}";
    let json = serde_json::to_value(resolved(text)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "host": {"cpu": "max", "memory": "1536M"},
            "guests": {"g0": {"vmm": "qemu", "memory": "256M"}},
            "steps": [{"look": {"name": "up"}}],
            "expect": [{"at": ["up"], "of": "ram", "stage2": "Normal-WB"}],
            "promises": ["I17"],
            "traits": {"exactly": ["wc-honoured"]},
        })
    );
}

/// An accepted report has the digest: it changes on purpose only, and then all reports with it.
#[test]
fn the_digest_of_a_cell_stays_as_it_is() {
    assert_eq!(resolved(TEXT).digest(), "ad357348f3d157d00115822fa664f31c9a5b87e0d9d71dffd4d8d598691e02b2");
}

#[test]
fn a_written_cell_resolves_to_itself() {
    let cell = resolved(TEXT);
    let written = serde_json::to_string(&cell.written("bar", "x")).unwrap();
    assert_eq!(resolved(&written), cell);
}
