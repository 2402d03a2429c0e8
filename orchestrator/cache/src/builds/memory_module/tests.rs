use super::*;
use crate::{Quiet, builds::config::ConfigFile, builds::kernel_tools::KernelTools, objects::object::Objects};

/// A Makefile in place of a kernel's. A module is made of its source and of what `modules_prepare` leaves.
const TREE: &str = r"
allnoconfig:
	@cp $(KCONFIG_ALLCONFIG) $(O)/.config
modules_prepare:
	@echo prepared > $(O)/generated
modules:
	@test -n '$(KBUILD_MODPOST_WARN)' && grep -q 'obj-m := s2lab_memory.o' $(M)/Makefile
	@cat $(O)/generated $(M)/s2lab_memory.c > $(M)/s2lab_memory.ko
";

/// Builds the module with this configuration. Returns the file and the folder of the object.
fn build(options: &str) -> (tempfile::TempDir, Result<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("Makefile"), TREE).unwrap();
    let tools = KernelTools::of_the_machine();
    let make = Make { what: "k", tools: &tools, source: &source, out: &out, progress: &Quiet };
    let fragment = ConfigFile { name: "a.config".into(), text: options.into() };
    let config = BuildConfig::Fragments(vec![fragment]);
    let objects = Objects::open(dir.path().join("cache"), std::sync::Arc::new(Quiet)).unwrap();
    let made = objects.get(KIND, "k", &options, |building| make_module(building, &make, &config));
    (dir, made.map(|object| object.path.join(MODULE_FILE)))
}

#[test]
fn the_module_is_made_of_its_source_without_the_kernel() {
    let (dir, file) = build("CONFIG_ARM64=y\nCONFIG_MODULES=y\n");
    assert_eq!(fs::read_to_string(file.unwrap()).unwrap(), format!("prepared\n{SOURCE}"));
    assert_eq!(
        fs::read_dir(dir.path().join("source")).unwrap().count(),
        1,
        "nothing is written into the tree"
    );
}

#[test]
fn a_kernel_without_modules_is_named() {
    let (_dir, file) = build("CONFIG_ARM64=y\n");
    assert!(file.unwrap_err().to_string().contains("CONFIG_MODULES is off"));
}
