use super::*;
use crate::Quiet;

/// A Makefile in place of a kernel's, and one in place of a suite's. A program is made of its source, of a
/// header, and of the flags of its linking.
const TREE: &str = "headers:\n\t@mkdir -p $(O)/usr/include; echo api > $(O)/usr/include/api.h\n";
const SUITE: &str = r"
TEST_GEN_PROGS := $(patsubst %,$(OUTPUT)/%,arm64/page_fault_test kvm_page_table_test breaks)
$(shell mkdir -p $(OUTPUT)/arm64)
$(OUTPUT)/%: %.c
	@test -d $(abs_objdir)/tools
	@(cat $< $(lastword $(KHDR_INCLUDES))/api.h; echo $(ARCH) $(LDFLAGS) $$CPATH) > $@
";

struct Fixture {
    dir: tempfile::TempDir,
    tools: KernelTools,
}

impl Fixture {
    fn new() -> Self {
        let at = Self { dir: tempfile::tempdir().unwrap(), tools: KernelTools::of_the_machine() };
        let suite = at.source().join(SUITES).join("kvm");
        fs::create_dir_all(suite.join("arm64")).unwrap();
        fs::write(at.source().join("Makefile"), TREE).unwrap();
        fs::write(suite.join("Makefile"), SUITE).unwrap();
        fs::write(suite.join("arm64/page_fault_test.c"), "faults\n").unwrap();
        fs::write(suite.join("kvm_page_table_test.c"), "tables\n").unwrap();
        at
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn build(&self, tests: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
        self.build_with(None, tests)
    }

    fn build_with(&self, libraries: Option<&Libraries>, tests: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
        let (source, out) = (self.source(), self.out());
        let make = Make { what: "k", tools: &self.tools, source: &source, out: &out, progress: &Quiet };
        make.begin()?;
        let tests = tests.iter().map(|name| (*name).to_owned()).collect();
        let built = Suite { make: &make, folder: "kvm", libraries }.build(&tests)?;
        make.end()?;
        Ok(built)
    }
}

#[test]
fn the_tree_says_which_tests_there_are_and_those_asked_for_are_built() {
    let at = Fixture::new();
    let known = at.build(&["page_fault_test", "stage2_block_transitions"]).unwrap();
    let names: Vec<_> = known.keys().map(String::as_str).collect();
    assert_eq!(names, ["breaks", "kvm_page_table_test", "page_fault_test"]);
    let built = fs::read_to_string(at.out().join("kvm/arm64/page_fault_test")).unwrap();
    assert_eq!(built, "faults\napi\narm64 -static -s\n");
    assert_eq!(known["page_fault_test"], at.out().join("kvm/arm64/page_fault_test"));
    assert!(!known["kvm_page_table_test"].exists(), "nobody asked for it");
    let source = at.source().join(SUITES).join("kvm");
    assert_eq!(fs::read_dir(source).unwrap().count(), 3, "nothing is written into the tree");
    assert!(at.build(&[]).is_ok_and(|known| known.len() == 3));
}

#[test]
fn a_suite_finds_the_headers_and_files_of_its_libraries() {
    let at = Fixture::new();
    at.build_with(Some(&Libraries::at(Path::new("/libraries"))), &["page_fault_test"]).unwrap();
    let built = fs::read_to_string(at.out().join("kvm/arm64/page_fault_test")).unwrap();
    let due = "faults\napi\narm64 -static -s -L/libraries/usr/lib/aarch64-linux-gnu /libraries/usr/include\n";
    assert_eq!(built, due);
}

#[test]
fn a_test_that_does_not_build_is_an_error_with_its_log() {
    let at = Fixture::new();
    match at.build(&["breaks"]) {
        Err(CacheError::Build { log, said, .. }) => {
            assert!(log.is_file() && said.contains("breaks"), "{said}")
        }
        other => panic!("{other:?}"),
    }
    assert!(at.build(&["page_fault_test"]).is_ok());
}
