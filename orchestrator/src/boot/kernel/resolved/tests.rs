use super::*;
use std::{fs, path::Path};

/// Returns the shipped list, and its folder.
fn shipped() -> (Kernels, PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let text = fs::read_to_string(folder.join("kernels.yaml")).unwrap();
    (s2lab_model::kernel::load("kernels.yaml", &text).unwrap_or_else(|e| panic!("{e}")), folder)
}

#[test]
fn the_shipped_entries_ask_for_what_they_say() {
    let (kernels, folder) = shipped();
    let wanted = |name: &str| wanted(&kernels, name, &folder).unwrap();
    let KernelRequest::Archive(debian) = wanted("debian-6.1") else { panic!() };
    assert_eq!((debian.version, debian.suites.len()), (None, 3));
    let KernelRequest::Built(series) = wanted("linux-6.1-wc") else { panic!() };
    let KernelRequest::Built(kvm_only) = wanted("linux-6.1-wc-kvm-only") else { panic!() };
    assert_eq!(series.patches.len(), 4);
    assert_eq!(series.patches[..3], kvm_only.patches[..]);
    assert_eq!((&series.source, &series.config), (&kvm_only.source, &kvm_only.config));
    let KernelSource::Package(package) = &series.source else { panic!() };
    assert!(package.version.is_some());
    let BuildConfig::Fragments(files) = &series.config else { panic!() };
    assert!(files.len() > 1 && files.iter().all(|file| file.text.contains("CONFIG_")));
}

#[test]
fn the_options_of_fragments_are_known_before_a_build() {
    let (kernels, folder) = shipped();
    let known = |name: &str| known_options(&kernels.entries[name], &folder).unwrap();
    let pages = |name: &str| known(name).unwrap().setting("ARM64_64K_PAGES");
    assert_eq!((pages("linux-6.12-64k"), pages("linux-6.12")), (Setting::BuiltIn, Setting::Off));
    assert_eq!(known("linux-6.1").unwrap().setting("KVM"), Setting::BuiltIn);
    assert_eq!(known("debian-6.12-16k"), None);
}

#[test]
fn kernels_of_one_source_are_built_next_to_those_that_they_are_like() {
    let (kernels, folder) = shipped();
    let names =
        ["linux-6.1-wc-v6", "linux-6.12", "linux-6.1-wc", "debian-6.1", "linux-6.1", "linux-6.1-wc-kvm-only"];
    let mut all: Vec<_> =
        names.iter().map(|name| (*name, wanted(&kernels, name, &folder).unwrap())).collect();
    all.sort_by(|(_, one), (_, other)| one.order().cmp(&other.order()));
    let order: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let at = |name: &str| order.iter().position(|n| *n == name).unwrap();
    assert_eq!(at("debian-6.1"), 0);
    assert_eq!(at("linux-6.1-wc"), at("linux-6.1-wc-kvm-only") + 1, "{order:?}");
    assert!(at("linux-6.1") < at("linux-6.1-wc-kvm-only"), "{order:?}");
    assert!(at("linux-6.12") == 1 || at("linux-6.12") == 5, "{order:?}");
}

#[test]
fn commits_stay_in_the_order_in_which_they_were_named() {
    let commit = |id: &str| {
        let source = KernelSource::Revision { repository: "/linux".into(), revision: id.into() };
        let config = BuildConfig::Fragments(Vec::new());
        KernelRequest::Built(KernelBuild { name: id.into(), source, config, patches: Vec::new() })
    };
    assert_eq!(commit("f").order(), commit("a").order());
}

fn one(entry: &str) -> Kernels {
    let text = format!("kernels:\n  k: {{about: x, traits: [], {entry}}}\ndefault: [k]\nguest: k\n");
    s2lab_model::kernel::load("kernels.yaml", &text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_tree_is_taken_as_it_was_built_or_built() {
    let dir = tempfile::tempdir().unwrap();
    let as_it_is = one("provider: tree, path: linux");
    let error = wanted(&as_it_is, "k", dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("linux/arch/arm64/boot/Image: the tree is not built"), "{error}");
    assert!(error.hint().unwrap().contains("build: true"));

    let tree = dir.path().join("linux");
    fs::create_dir_all(tree.join("arch/arm64/boot")).unwrap();
    fs::write(tree.join(BUILT_IMAGE), "").unwrap();
    let choice = |kernels: &Kernels| match wanted(kernels, "k", dir.path()).unwrap() {
        KernelRequest::File(choice) => choice,
        other => panic!("{other:?}"),
    };
    assert_eq!((choice(&as_it_is).modules, choice(&as_it_is).config), (Some(tree.clone()), None));
    fs::write(tree.join(".config"), "CONFIG_ARM64=y\n").unwrap();
    let found = choice(&as_it_is);
    assert_eq!((found.label.as_str(), found.modules, found.config), ("k", None, Some(tree.join(".config"))));
    fs::write(tree.join(".config"), "CONFIG_ARM64=y\nCONFIG_MODULES=y\n").unwrap();
    assert_eq!(choice(&as_it_is).modules, Some(tree.clone()));

    let KernelRequest::Built(whole) =
        wanted(&one("provider: tree, path: linux, build: true"), "k", dir.path()).unwrap()
    else {
        panic!()
    };
    assert!(matches!(whole.config, BuildConfig::Whole(file) if file.text.contains("MODULES")));
    assert_eq!(whole.source, KernelSource::Folder(tree));
    let error =
        wanted(&one("provider: tree, path: linux, build: true, config: [no.config]"), "k", dir.path())
            .unwrap_err();
    assert!(error.to_string().contains("no.config"), "{error}");
}

#[test]
fn an_image_with_what_belongs_to_it() {
    let kernels = one("provider: image, path: /k/Image, modules: m, config: c, system-map: s");
    let KernelRequest::File(choice) = wanted(&kernels, "k", Path::new("/lab/images")).unwrap() else {
        panic!()
    };
    assert_eq!(choice.image, Path::new("/k/Image"));
    assert_eq!(choice.modules.as_deref(), Some(Path::new("/lab/images/m")));
    assert_eq!(choice.config.as_deref(), Some(Path::new("/lab/images/c")));
    assert_eq!(choice.system_map.as_deref(), Some(Path::new("/lab/images/s")));
    assert!(wanted(&kernels, "other", Path::new("/")).is_err());
}
