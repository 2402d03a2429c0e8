use super::*;
use crate::kernel::{NAME_LENGTH, Trait};
use crate::{kernel, scenario};
use proptest::prelude::*;

fn kernels() -> Kernels {
    let entry = |name: &str, traits: &str| {
        format!(
            "  \"{name}\": {{about: x, provider: debian, package: linux, suites: [s], track: newest, traits: [{traits}]}}\n"
        )
    };
    let list =
        ["debian-6.1", "debian-6.12", "debian-6.12-16k", "a-first"].map(|n| entry(n, "wc-conveyed")).concat();
    let text = format!("kernels:\n{list}default: [debian-6.12, debian-6.1]\nguest: debian-6.1\n");
    kernel::load("kernels.yaml", &text).unwrap_or_else(|e| panic!("{e}"))
}

fn scenarios(names: &[&str]) -> Vec<Scenario> {
    let text = |name: &str| {
        format!(
            "scenario: {name}\nabout: x\nhost: {{cpu: max}}\nguests: {{g0: {{vmm: qemu}}}}\n\
             steps: [look: {{name: up}}]\nexpect: [{{at: up, of: ram, stage2: Normal-WB}}]\n"
        )
    };
    names
        .iter()
        .map(|n| scenario::load(&format!("{n}.yaml"), &text(n)).unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

fn own(path: &str) -> Result<KernelChoice, PlanError> {
    Ok(KernelChoice::Own { label: label(path)?, traits: Traits::AtLeast([].into()) })
}

fn keys(selectors: &[&str], arguments: &[&str]) -> Result<Vec<String>, String> {
    keys_within(Reach::default(), selectors, arguments)
}

fn keys_within(reach: Reach, selectors: &[&str], arguments: &[&str]) -> Result<Vec<String>, String> {
    let kernels = kernels();
    let choice = |argument: &&str| match KernelArgument::parse(argument, &kernels, &|_| false)? {
        KernelArgument::Listed(name) => Ok(KernelChoice::Listed(name)),
        KernelArgument::Image(path) | KernelArgument::Tree { path, .. } => own(&path),
        KernelArgument::Fetched(artifact) => own(artifact.name()),
        KernelArgument::Mutant { base, name } => own(&with_series(&base, &name)),
    };
    let choices: Result<Vec<_>, PlanError> = arguments.iter().map(choice).collect();
    let selection = Selection {
        exclude: vec![],
        selectors: selectors.iter().map(|s| s.to_string()).collect(),
        kernels: choices.map_err(|e| e.to_string())?,
        reach,
        axes: vec![],
    };
    plan(&scenarios(&["vfio-pci-bar", "memory", "vfio-pci-bar-short"]), &kernels, &selection)
        .map(|cells| cells.into_iter().map(|c| c.key.to_string()).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn without_selectors_all_scenarios_on_the_default_kernels_in_their_order() {
    assert_eq!(
        keys(&[], &[]).unwrap(),
        [
            "memory@debian-6.12",
            "memory@debian-6.1",
            "vfio-pci-bar@debian-6.12",
            "vfio-pci-bar@debian-6.1",
            "vfio-pci-bar-short@debian-6.12",
            "vfio-pci-bar-short@debian-6.1",
        ]
    );
}

#[test]
fn a_name_is_the_whole_name() {
    assert_eq!(
        keys(&["vfio-pci-bar"], &[]).unwrap(),
        ["vfio-pci-bar@debian-6.12", "vfio-pci-bar@debian-6.1"]
    );
}

#[test]
fn a_key_reaches_a_kernel_that_is_no_default() {
    assert_eq!(keys(&["memory@a-first"], &[]).unwrap(), ["memory@a-first"]);
    assert_eq!(keys(&["memory@*16k"], &[]).unwrap(), ["memory@debian-6.12-16k"]);
}

#[test]
fn a_glob_on_the_kernel_half_takes_what_is_in_reach() {
    let default = ["memory@debian-6.12", "memory@debian-6.1"];
    let all = [&default[..], &["memory@a-first", "memory@debian-6.12-16k"]].concat();
    let keys = |reach, selector| keys_within(reach, &[selector], &[]);
    for glob in ["memory@*", "mem*@*"] {
        assert_eq!(keys(Reach::AllByGlob, glob).unwrap(), all);
        assert_eq!(keys(Reach::Default, glob).unwrap(), default);
        assert_eq!(keys(Reach::All, glob).unwrap(), all);
    }
    assert_eq!(keys(Reach::AllByGlob, "memory").unwrap(), default);
    assert_eq!(keys(Reach::Default, "memory").unwrap(), default);
    assert_eq!(keys(Reach::All, "memory").unwrap(), all);
    assert_eq!(keys_within(Reach::All, &[], &[]).unwrap().len(), 3 * all.len());
    // A whole name takes its kernel.
    assert_eq!(keys(Reach::Default, "mem*@a-first").unwrap(), ["memory@a-first"]);
    assert_eq!(
        keys(Reach::Default, "memory@*16k").unwrap_err(),
        "`memory@*16k` matches no cell: its glob takes default kernels only; --all-kernels takes all"
    );
    assert_eq!(keys(Reach::All, "memory@*16k").unwrap(), ["memory@debian-6.12-16k"]);
    let error = keys(Reach::Default, "memory@debian-6.2?").unwrap_err();
    assert!(!error.contains("--all-kernels"), "{error}");
    // The kernels of `--kernel` are all chosen.
    assert_eq!(keys_within(Reach::Default, &["memory@*"], &["a-first"]).unwrap(), ["memory@a-first"]);
}

#[test]
fn what_is_meant_twice_is_there_once() {
    let all = keys(&["memory@debian-6.1", "mem*", "memory"], &[]).unwrap();
    assert_eq!(all, ["memory@debian-6.12", "memory@debian-6.1"]);
}

#[test]
fn chosen_kernels_replace_the_default_ones() {
    assert_eq!(
        keys(&["memory"], &["a-first", "debian-6.1", "a-first"]).unwrap(),
        ["memory@a-first", "memory@debian-6.1"]
    );
    assert!(keys(&["memory@debian-6.12"], &["a-first"]).unwrap_err().contains("matches no cell"));
}

#[test]
fn a_file_has_a_label_and_no_traits() {
    let kernels = kernels();
    let choice = own("build/arch/arm64/boot/Image.gz").unwrap();
    assert_eq!(choice.name(), "image");
    let selection =
        Selection { selectors: vec!["memory".into()], kernels: vec![choice], ..Selection::default() };
    let cells = plan(&scenarios(&["memory"]), &kernels, &selection).unwrap();
    assert_eq!(
        (cells[0].key.as_str(), &cells[0].resolved.traits),
        ("memory@image", &Traits::AtLeast([].into()))
    );
    let traits = Traits::AtLeast([Trait::WcHonoured].into());
    let declared = KernelChoice::Own { label: with_series("a-first", "wc"), traits: traits.clone() };
    let selection = Selection {
        selectors: vec!["memory@a-first*".into()],
        kernels: vec![declared],
        ..Selection::default()
    };
    let cells = plan(&scenarios(&["memory"]), &kernels, &selection).unwrap();
    assert_eq!((cells[0].key.as_str(), &cells[0].resolved.traits), ("memory@a-first~wc", &traits));
    let listed = plan(&scenarios(&["memory"]), &kernels, &Selection::default()).unwrap();
    assert_eq!(listed[0].resolved.traits, Traits::Exactly([Trait::WcConveyed].into()));
}

#[test]
fn a_file_cannot_pass_for_a_listed_kernel_nor_for_another_file() {
    assert!(keys(&[], &["out/debian-6.12"]).unwrap_err().contains("two kernels are called `debian-6.12`"));
    assert!(keys(&[], &["a/Image", "b/Image"]).unwrap_err().contains("two kernels are called `image`"));
}

#[test]
fn labels() {
    for (path, expected) in [
        ("./Image", Some("image")),
        ("/boot/vmlinuz-6.13.0-rc2+", Some("vmlinuz-6.13.0-rc2-")),
        ("v9_20240224_ankita.mbox.gz", Some("v9-20240224-ankita")),
        ("x/..", None),
        ("/", None),
        ("x/Käse Bild.img", Some("kase-bild")),
        ("t/内核", Some("nei-he")),
        ("Ядро-6.1", Some("iadro-6.1")),
        ("t/、", None),
        ("Image.lz4", Some("image")),
    ] {
        assert_eq!(label(path).ok().as_deref(), expected, "{path}");
    }
    let commit = "1a2b3c4d5e6f7a8b9c0d";
    assert_eq!(commit_name("linux", commit), "linux-1a2b3c4d5e6f");
    assert_eq!(commit_name(&"x".repeat(NAME_LENGTH), commit).len(), NAME_LENGTH);
}

/// A folder that exists decides, because a path and a commit both may have an `@`.
#[test]
fn an_at_sign_may_be_in_a_path_and_in_a_commit() {
    let parse = |text: &str, folders: &[&str]| match KernelArgument::parse(text, &kernels(), &|path| {
        folders.contains(&path)
    }) {
        Ok(KernelArgument::Tree { path, revisions }) => Ok((path, revisions)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let one = |path: &str, revision: &str| Ok((path.to_owned(), Some(Revisions::One(revision.into()))));
    let whole = |path: &str| Ok((path.to_owned(), None));
    let home = "/home/user@corp.example/linux";
    assert_eq!(parse("tree:/home/user@corp.example/linux", &[home]), whole(home));
    assert_eq!(parse("tree:/home/user@corp.example/linux@v6.1", &[home]), one(home, "v6.1"));
    assert_eq!(parse("tree:linux@wip@2", &["linux"]), one("linux", "wip@2"));
    assert_eq!(parse("tree:linux@HEAD@{1}", &["linux"]), one("linux", "HEAD@{1}"));
    let both = ["linux", "linux/", "linux@v6.1", "linux@v6.1/"];
    assert!(parse("tree:linux@v6.1", &both).unwrap_err().contains("a commit of another folder"));
    assert_eq!(parse("tree:linux@v6.1/", &both), whole("linux@v6.1/"));
    assert_eq!(parse("tree:linux/@v6.1", &both), one("linux/", "v6.1"));
}

#[test]
fn a_mutant_is_named_after_its_kernel() {
    let parse = |text: &str| KernelArgument::parse(text, &kernels(), &|_| false).map_err(|e| e.to_string());
    let mutant = |base: &str, name: &str| Ok(KernelArgument::Mutant { base: base.into(), name: name.into() });
    assert_eq!(parse("debian-6.1~tlbi-skipped"), mutant("debian-6.1", "tlbi-skipped"));
    assert_eq!(parse("debian-6.1~a~b"), mutant("debian-6.1", "a~b"));
    let unknown = parse("debian-6.2~tlbi-skipped").unwrap_err();
    assert!(unknown.starts_with("no kernel is called `debian-6.2`"), "{unknown}");
    assert_eq!(parse("./a~b"), Ok(KernelArgument::Image("./a~b".into())));
}

#[test]
fn trees() {
    let parse = |text: &str| KernelArgument::parse(text, &kernels(), &|_| false).map_err(|e| e.to_string());
    let tree = |path: &str, revisions| Ok(KernelArgument::Tree { path: path.into(), revisions });
    let one = |revision: &str| Some(Revisions::One(revision.into()));
    assert_eq!(parse("tree:/src/linux"), tree("/src/linux", None));
    assert_eq!(parse("tree:.@HEAD"), tree(".", one("HEAD")));
    assert_eq!(parse("tree:a@b/linux@HEAD@{1}"), tree("a@b/linux", one("HEAD@{1}")));
    let range = Some(Revisions::Range("origin/master..wc~2".into()));
    assert_eq!(parse("tree:linux@origin/master..wc~2"), tree("linux", range));
    for (text, why) in [
        ("tree:", "names no folder"),
        ("tree:@HEAD", "names no folder"),
        ("tree:x@", "names no commit"),
        ("tree:x@--all", "has an option"),
        ("tree:x@a...b", "symmetric"),
    ] {
        assert!(parse(text).unwrap_err().contains(why), "{text}");
    }
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    assert_eq!(
        keys(&["vfio-pci-bra"], &[]).unwrap_err(),
        "`vfio-pci-bra` matches no cell: did you mean `vfio-pci-bar`?"
    );
    assert_eq!(
        keys(&["memory@debian-6.2"], &[]).unwrap_err(),
        "`memory@debian-6.2` matches no cell: did you mean `memory@debian-6.12`?"
    );
    assert_eq!(
        keys(&["*6.1"], &[]).unwrap_err(),
        "`*6.1` matches no cell: did you mean `*@*6.1`?",
        "the name of a kernel"
    );
    let unknown = keys(&[], &["debian-6.11"]).unwrap_err();
    assert!(unknown.starts_with("no kernel is called `debian-6.11`: did you mean `debian-6.1"), "{unknown}");
}

#[test]
fn nothing_can_be_planned_of_nothing_or_of_twins() {
    let plan = |names: &[&str]| plan(&scenarios(names), &kernels(), &Selection::default());
    assert_eq!(plan(&[]), Err(PlanError::NoScenario));
    assert_eq!(plan(&["a", "b", "a"]), Err(PlanError::SameScenario { name: "a".into() }));
}

#[test]
fn a_run_has_not_any_number_of_cells() {
    // Two default kernels.
    let plan = |number: usize| {
        let one = scenarios(&["a"]).remove(0);
        let many = (0..number).map(|n| Scenario { scenario: format!("s{n}"), ..one.clone() });
        plan(&many.collect::<Vec<_>>(), &kernels(), &Selection::default())
    };
    assert_eq!(plan(MOST_CELLS / 2).map(|cells| cells.len()), Ok(MOST_CELLS));
    assert_eq!(plan(MOST_CELLS / 2 + 1), Err(PlanError::TooMany { count: MOST_CELLS + 2 }));
}

/// The plain definition, exponential in the worst case.
fn glob_as_defined(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|i| glob_as_defined(rest, &text[i..])),
        [c, rest @ ..] => {
            text.first().is_some_and(|t| (*c == '?' || c == t) && glob_as_defined(rest, &text[1..]))
        }
    }
}

proptest! {
    #[test]
    fn glob_is_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        prop_assert_eq!(glob(&pattern, &text), glob_as_defined(&chars(&pattern), &chars(&text)));
    }

    /// Keys are names of files.
    #[test]
    fn a_label_is_safe_in_a_file_name(path in ".*") {
        if let Ok(label) = label(&path) {
            prop_assert!(label.len() <= NAME_LENGTH);
            prop_assert!(label.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{}", label);
            prop_assert!(label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.'), "{}", label);
        }
    }

    #[test]
    fn no_argument_panics(argument in "(tree:)?[a-zä@{}./-]{0,20}") {
        if let Ok(KernelArgument::Tree { path, .. }) = KernelArgument::parse(&argument, &kernels(), &|path| path.len() < 5) {
            prop_assert!(!path.is_empty());
        }
    }

    #[test]
    fn no_selection_panics(selector in "[a-z@*?.-]{0,20}", argument in "[a-z/.]{0,10}") {
        let _ = keys(&[&selector], &[&argument]);
        let _ = keys(&[&selector], &[]);
    }
}

/// Returns the keys with these QEMUs.
fn keys_of(selectors: &[&str], exclude: &[&str], qemus: &[QemuChoice]) -> Result<Vec<String>, String> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    let (selectors, exclude, axes) = (texts(selectors), texts(exclude), vec![QemuChoice::axis(qemus)]);
    let selection = Selection { selectors, exclude, axes, ..Selection::default() };
    plan(&scenarios(&["memory", "vfio-pci-bar"]), &kernels(), &selection)
        .map(|cells| cells.into_iter().map(|cell| cell.key.to_string()).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn a_selector_without_axes_takes_the_chosen_points() {
    let both = [QemuChoice::Default, QemuChoice::Newest];
    let newest = ["memory@debian-6.12+qemu=newest", "memory@debian-6.1+qemu=newest"];
    assert_eq!(keys_of(&["memory"], &[], &[]).unwrap(), ["memory@debian-6.12", "memory@debian-6.1"]);
    assert_eq!(keys_of(&["memory"], &[], &[QemuChoice::Newest]).unwrap(), newest);
    assert_eq!(
        keys_of(&["memory@debian-6.1"], &[], &both).unwrap(),
        ["memory@debian-6.1", "memory@debian-6.1+qemu=newest"]
    );
    // `*` stands for no axis.
    assert_eq!(keys_of(&["*@*"], &[], &[]).unwrap().len(), 8);
    assert_eq!(keys_of(&["*@*"], &[], &both).unwrap().len(), 16);
    assert!(keys_of(&["*@*"], &[], &[QemuChoice::Newest]).unwrap().iter().all(|key| key.ends_with("newest")));
}

#[test]
fn a_key_reaches_a_point_that_is_not_chosen() {
    let key = "memory@debian-6.12+qemu=newest";
    assert_eq!(keys_of(&[key], &[], &[]).unwrap(), [key]);
    assert_eq!(keys_of(&["*@a-first+*"], &[], &[]).unwrap().len(), 2);
    assert_eq!(
        keys_of(&["memory@debian-6.12", key], &[], &[]).unwrap(),
        ["memory@debian-6.12", "memory@debian-6.12+qemu=newest"]
    );
    // Named QEMUs are all that there are, as named kernels are.
    let plain = keys_of(&["memory@debian-6.12+qemu=old"], &[], &[QemuChoice::Newest]).unwrap_err();
    assert!(plain.contains("did you mean `memory@debian-6.12+qemu=newest`?"), "{plain}");
}

#[test]
fn cells_of_all_points_are_left_out_together_or_by_their_keys() {
    let both = [QemuChoice::Default, QemuChoice::Newest];
    let left = |exclude: &str| keys_of(&["memory"], &[exclude], &both).unwrap();
    assert_eq!(left("memory@debian-6.1"), ["memory@debian-6.12", "memory@debian-6.12+qemu=newest"]);
    assert_eq!(left("*@*+qemu=newest"), ["memory@debian-6.12", "memory@debian-6.1"]);
    let key = "a@k+control=inverted+qemu=newest".parse().unwrap();
    assert!(selects("a", &key) && selects("a@k", &key) && selects("a@k+*", &key));
    assert!(!selects("a@k+qemu=newest", &key));
}

#[test]
fn a_key_names_its_qemu() {
    let of = |key: &str| QemuChoice::of(&key.parse().unwrap());
    assert_eq!(of("a@k"), Some(QemuChoice::Default));
    assert_eq!(of("a@k+control=inverted+qemu=newest"), Some(QemuChoice::Newest));
    // The plain key is that of the default one.
    assert_eq!([of("a@k+qemu=default"), of("a@k+qemu=older")], [None, None]);
}

/// A scenario with two axes, one point of which is excluded.
fn matrix() -> Scenario {
    let text = "scenario: sizes\nabout: x\n\
        axes: {host.cpu: [neoverse-v1, neoverse-n1], host.devices.nic.bar: {values: [64K, 2M], also: [steps.0.store.bytes]}}\n\
        exclude: [{at: {bar: 2M, cpu: neoverse-n1}, reason: too slow}]\n\
        host: {cpu: neoverse-v1, devices: {nic: {model: ivshmem-plain, bar: 4K}}}\n\
        guests: {g0: {vmm: qemu, assign: {nic: vfio-pci}}}\n\
        steps: [store: {guest: g0, device: nic, map: wc, width: [8], bytes: 4K}, look: {name: up}]\n\
        expect: [{at: up, of: ram, stage2: Normal-WB}, {at: up, of: nic, exec: never, points: {bar: 2M}}]\n";
    scenario::load("sizes.yaml", text).unwrap_or_else(|e| panic!("{e}"))
}

fn matrix_cells(selectors: &[&str], qemus: &[QemuChoice]) -> Result<Vec<PlannedCell>, String> {
    let selectors = selectors.iter().map(|text| text.to_string()).collect();
    let selection = Selection { selectors, axes: vec![QemuChoice::axis(qemus)], ..Selection::default() };
    plan(&[matrix()], &kernels(), &selection).map_err(|error| error.to_string())
}

#[test]
fn each_point_of_a_scenarios_axes_is_a_cell() {
    let keys = |selectors: &[&str], qemus: &[QemuChoice]| {
        let cells = matrix_cells(selectors, qemus);
        cells.map(|cells| cells.into_iter().map(|cell| cell.key.to_string()).collect::<Vec<_>>())
    };
    let of = |kernel: &str| {
        ["64K+cpu=neoverse-v1", "2M+cpu=neoverse-v1", "64K+cpu=neoverse-n1", "2M+cpu=neoverse-n1"]
            .map(|point| format!("sizes@{kernel}+bar={point}"))
    };
    assert_eq!(keys(&[], &[]).unwrap(), [of("debian-6.12"), of("debian-6.1")].concat());
    // A key without axes selects all points, and one with axes names each of them.
    assert_eq!(keys(&["sizes@a-first"], &[]).unwrap(), of("a-first"));
    let key = "sizes@a-first+bar=64K+cpu=neoverse-n1";
    assert_eq!(keys(&[key], &[]).unwrap(), [key]);
    let part = keys(&["sizes@a-first+bar=64K"], &[]).unwrap_err();
    assert!(part.contains("matches no cell"), "{part}");
    assert_eq!(keys(&["sizes@a-first+bar=64K*"], &[]).unwrap().len(), 4, "each QEMU");
    // Without a kernel it is a point of the scenario, on the chosen kernels and QEMUs.
    let point = "sizes+bar=64K+cpu=neoverse-n1";
    let on = |kernel: &str, qemu: &str| format!("sizes@{kernel}+bar=64K+cpu=neoverse-n1{qemu}");
    assert_eq!(keys(&[point], &[]).unwrap(), [on("debian-6.12", ""), on("debian-6.1", "")]);
    let newest = keys(&[point], &[QemuChoice::Newest]).unwrap();
    assert_eq!(newest, [on("debian-6.12", "+qemu=newest"), on("debian-6.1", "+qemu=newest")]);
    let part = keys(&["sizes+bar=64K"], &[]).unwrap_err();
    assert!(part.starts_with("`sizes+bar=64K` matches no cell: known here: sizes+bar=64K+cpu="), "{part}");
    let newest = keys(&["sizes@a-first"], &[QemuChoice::Newest]).unwrap();
    assert_eq!(newest, of("a-first").map(|key| format!("{key}+qemu=newest")));
    assert_eq!(all_keys(&[matrix()], &kernels(), &[QemuChoice::axis(&[])]).len(), 4 * 4 * 2);
}

#[test]
fn a_point_has_its_values_and_its_expectations() {
    let cells = matrix_cells(&["sizes@a-first"], &[]).unwrap();
    let shown = |cell: &PlannedCell| {
        let resolved = &cell.resolved;
        let bytes = serde_json::to_value(&resolved.steps).unwrap()[0]["store"]["bytes"].clone();
        let bar = resolved.host.devices["nic"].bar.unwrap().to_string();
        (resolved.host.cpu.clone(), bar, bytes, resolved.expect.len(), resolved.excluded.clone())
    };
    let due = |cpu: &str, bar: &str, expectations, excluded: Option<&str>| {
        let excluded = excluded.map(str::to_owned);
        (cpu.to_owned(), bar.to_owned(), serde_json::json!(bar), expectations, excluded)
    };
    assert_eq!(
        cells.iter().map(shown).collect::<Vec<_>>(),
        [
            due("neoverse-v1", "64K", 1, None),
            due("neoverse-v1", "2M", 2, None),
            due("neoverse-n1", "64K", 1, None),
            // Its values are those of the file.
            due("neoverse-v1", "4K", 2, Some("too slow")),
        ]
    );
    assert!(cells.iter().all(|cell| cell.resolved.expect.iter().all(|one| one.points.is_empty())));
    assert!(cells[1].control().is_none(), "it expects no type");
}

/// Returns the reasons of the cells of a scenario, with the CPU of each, on kernels with these traits.
fn excluded(exclude: &str, traits: &Traits) -> Vec<(String, Option<String>)> {
    let text = format!(
        "scenario: s\nabout: x\naxes: {{host.cpu: [max, neoverse-n1]}}\nexclude: {exclude}\nhost: {{cpu: a64fx}}\n\
         guests: {{g0: {{vmm: qemu}}}}\nsteps: [look: {{name: up}}]\nexpect: [{{at: up, of: ram, stage2: Normal-WB}}]\n"
    );
    let scenario = scenario::load("s.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let own = KernelChoice::Own { label: "own".into(), traits: traits.clone() };
    let selection = Selection { kernels: vec![own], ..Selection::default() };
    let cells = plan(&[scenario], &kernels(), &selection).unwrap();
    cells.into_iter().map(|cell| (cell.resolved.host.cpu, cell.resolved.excluded)).collect()
}

#[test]
fn a_kernels_traits_exclude_a_point() {
    let cells = |first: Option<&str>, second: Option<&str>| {
        [("max", first), ("neoverse-n1", second)].map(|(cpu, of)| (cpu.to_owned(), of.map(str::to_owned)))
    };
    let (conveyed, both) = ([Trait::WcConveyed], [Trait::WcConveyed, Trait::WcHonoured]);
    let exactly = |traits: &[Trait]| Traits::Exactly(traits.iter().copied().collect());
    let at_least = |traits: &[Trait]| Traits::AtLeast(traits.iter().copied().collect());
    let when = "[{at: {cpu: max}, when: [wc-conveyed, wc-honoured], reason: x}]";
    assert_eq!(excluded(when, &exactly(&both)), cells(Some("x"), None));
    assert_eq!(excluded(when, &exactly(&conveyed)), cells(None, None));
    assert_eq!(excluded(when, &at_least(&both)), cells(Some("x"), None));
    assert_eq!(excluded(when, &at_least(&conveyed)), cells(None, None), "what is open excludes nothing");
    let unless = when.replace("when", "unless");
    assert_eq!(excluded(&unless, &exactly(&both)), cells(None, None));
    assert_eq!(excluded(&unless, &exactly(&conveyed)), cells(Some("x"), None));
    assert_eq!(excluded(&unless, &at_least(&[])), cells(None, None));
    let all = "[{when: wc-conveyed, reason: x}]";
    assert_eq!(excluded(all, &exactly(&conveyed)), cells(Some("x"), Some("x")));
    assert_eq!(excluded(all, &exactly(&[])), cells(None, None));
}

/// No kernel runs the point, so it has the values of the file, whatever the traits are.
#[test]
fn two_exclusions_may_exclude_a_point_together() {
    let two =
        "[{at: {cpu: max}, when: wc-conveyed, reason: x}, {at: {cpu: max}, unless: wc-conveyed, reason: y}]";
    for (traits, reason) in [
        (Traits::Exactly([Trait::WcConveyed].into()), "x"),
        (Traits::Exactly([].into()), "y"),
        (Traits::AtLeast([].into()), "y"),
    ] {
        let cells = excluded(two, &traits);
        assert_eq!(cells[0], ("a64fx".to_owned(), Some(reason.to_owned())), "{traits:?}");
        assert_eq!(cells[1], ("neoverse-n1".to_owned(), None), "{traits:?}");
    }
}

#[test]
fn a_kernels_traits_exclude_a_scenario_without_axes() {
    let text = "scenario: s\nabout: x\nexclude: [{when: wc-conveyed, reason: x}]\nhost: {cpu: max}\n\
        guests: {g0: {vmm: qemu}}\nsteps: [look: {name: up}]\nexpect: [{at: up, of: ram, stage2: Normal-WB}]\n";
    let scenario = scenario::load("s.yaml", text).unwrap_or_else(|e| panic!("{e}"));
    let bare = KernelChoice::Own { label: "bare".into(), traits: Traits::Exactly([].into()) };
    let selection =
        Selection { kernels: vec![KernelChoice::Listed("a-first".into()), bare], ..Selection::default() };
    let cells = plan(&[scenario], &kernels(), &selection).unwrap();
    let shown = |cell: &PlannedCell| (cell.key.to_string(), cell.resolved.excluded.clone());
    assert_eq!(
        cells.iter().map(shown).collect::<Vec<_>>(),
        [("s@a-first".to_owned(), Some("x".to_owned())), ("s@bare".to_owned(), None)]
    );
}

/// A point is the cell of a file that has its values.
#[test]
fn the_digest_of_a_point_does_not_depend_on_the_axes() {
    let cells = matrix_cells(&["sizes@a-first+bar=64K+cpu=neoverse-n1"], &[]).unwrap();
    let text = "scenario: sizes\nabout: x\n\
        host: {cpu: neoverse-n1, devices: {nic: {model: ivshmem-plain, bar: 64K}}}\n\
        guests: {g0: {vmm: qemu, assign: {nic: vfio-pci}}}\n\
        steps: [store: {guest: g0, device: nic, map: wc, width: [8], bytes: 64K}, look: {name: up}]\n\
        expect: [{at: up, of: ram, stage2: Normal-WB}]\n";
    let alone = scenario::load("sizes.yaml", text).unwrap();
    assert_eq!(cells[0].resolved, ResolvedCell::of(&alone, cells[0].resolved.traits.clone()));
}

#[test]
fn a_value_that_is_set_is_the_only_one_of_its_axis() {
    let text = "scenario: s\nabout: x\naxes: {host.cpu: [max, neoverse-n1], \
        host.arguments: {as: mode, values: {vhe: [], nvhe: [kvm-arm.mode=nvhe]}}}\nhost: {cpu: max}\n\
        guests: {g0: {vmm: qemu}}\nsteps: [look: {name: up}]\nexpect: [{at: up, of: ram, stage2: Normal-WB}]\n";
    let keys = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| scenario::SetValue::parse(set).unwrap()).collect();
        let scenario = scenario::load_at("s.yaml", text, &sets, &mut |_| unreachable!())
            .map_err(|error| error.to_string())?;
        let selection = Selection { selectors: vec!["s@a-first".into()], ..Selection::default() };
        let cells = plan(&[scenario], &kernels(), &selection).map_err(|error| error.to_string())?;
        let shown = |cell: PlannedCell| format!("{} {:?}", cell.key, cell.resolved.host.arguments);
        Ok::<_, String>(cells.into_iter().map(shown).collect::<Vec<_>>())
    };
    let both = ["+mode=vhe []", "+mode=nvhe [\"kvm-arm.mode=nvhe\"]"];
    for cpu in ["a64fx", "neoverse-n1"] {
        let due = both.map(|mode| format!("s@a-first+cpu={cpu}{mode}"));
        assert_eq!(keys(&[&format!("host.cpu={cpu}")]).unwrap(), due);
    }
    let one = keys(&["host.cpu=a64fx", "host.arguments=nvhe", "guests.g0.vcpus=2"]).unwrap();
    assert_eq!(one, ["s@a-first+cpu=a64fx+mode=nvhe+vcpus=2 [\"kvm-arm.mode=nvhe\"]"]);
    for (set, due) in [
        ("host.cpu=pentium", "s with host.cpu=pentium: `pentium` is not known here"),
        ("host.cpux=a64fx", "s with host.cpux=a64fx: unknown key `cpux`"),
        ("guests.g1.vcpus=2", "s with guests.g1.vcpus=2: `guests.g1.vcpus` names nothing in this file"),
        (
            "host.arguments=protected",
            "s with host.arguments=protected: a list is expected here, this is text",
        ),
    ] {
        let error = keys(&[set]).unwrap_err();
        assert!(error.starts_with(due), "{error}");
    }
    for wrong in
        ["host.cpu", "host.cpu=", "expect.0.of=ram", "host..cpu=max", "host.cpu=a b", "host.cpu=../a"]
    {
        assert!(scenario::SetValue::parse(wrong).is_err(), "{wrong}");
    }
}

/// Points that differ in what a host does not see share it.
#[test]
fn points_with_the_same_host_share_a_boot() {
    let text = "scenario: s\nabout: x\naxes: {host.cpu: [max, neoverse-n1], guests.g0.vcpus: [1, 2], \
        steps.0.store.bytes: [64, 4K]}\nexclude: [{at: {bytes: 64, vcpus: 2}, reason: x}]\n\
        host: {cpu: max, devices: {nic: {model: ivshmem-plain, bar: 4K}}}\n\
        guests: {g0: {vmm: qemu, assign: {nic: vfio-pci}}}\n\
        steps: [store: {guest: g0, device: nic, map: wc, width: [8], bytes: 4K}, look: {name: up}]\n\
        expect: [{at: up, of: ram, stage2: Normal-WB}]\n";
    let scenario = scenario::load("s.yaml", text).unwrap_or_else(|e| panic!("{e}"));
    let selection = Selection { selectors: vec!["s@a-first".into()], ..Selection::default() };
    let cells = plan(&[scenario], &kernels(), &selection).unwrap();
    let host = SharedHost::of(&cells[0]);
    let takes: Vec<_> = cells.iter().map(|cell| host.takes(cell)).collect();
    // The values of an excluded point are those of the file, so its host is that of the first.
    let due: Vec<_> = cells
        .iter()
        .map(|cell| cell.key.axis("cpu") == Some("max") && cell.resolved.excluded.is_none())
        .collect();
    assert_eq!((takes.len(), &takes), (8, &due));
    assert_eq!(due.iter().filter(|takes| **takes).count(), 3);
}
