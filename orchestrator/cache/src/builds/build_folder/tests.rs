use super::*;
use crate::progress::Quiet;
use proptest::prelude::*;
use std::{cell::Cell, os::unix::fs::MetadataExt};

fn lines(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

/// Changes line `line` of `file`, which contains numbers, to `to`.
fn change(file: &str, line: u32, to: &str) -> Patch {
    let context = |range: std::ops::RangeInclusive<u32>| range.map(|n| format!(" {n}\n")).collect::<String>();
    let (before, after) = (context(line - 3..=line - 1), context(line + 1..=line + 3));
    let from = line - 3;
    let diff =
        format!("--- a/{file}\n+++ b/{file}\n@@ -{from},7 +{from},7 @@\n{before}-{line}\n+{to}\n{after}");
    Patch { title: format!("{file}:{line}"), diff: diff.into_bytes() }
}

fn add(file: &str) -> Patch {
    let diff = format!(
        "diff --git a/{file} b/{file}\nnew file mode 100644\n--- /dev/null\n+++ b/{file}\n@@ -0,0 +1 @@\n+new\n"
    );
    Patch { title: format!("add {file}"), diff: diff.into_bytes() }
}

fn rename(from: &str, to: &str) -> Patch {
    let diff =
        format!("diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n");
    Patch { title: format!("rename {from}"), diff: diff.into_bytes() }
}

/// A folder of two files, and the number of times that its base was brought.
struct Fixture {
    dir: tempfile::TempDir,
    brought: Cell<u32>,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), brought: Cell::new(0) }
    }

    fn folder(&self) -> BuildFolder {
        BuildFolder::new(self.dir.path().join("f"))
    }

    fn prepare(&self, base: &str, patches: &[Patch]) -> Result<()> {
        let bring = |into: &Path| {
            self.brought.set(self.brought.get() + 1);
            fs::create_dir_all(into.join("mm")).unwrap();
            fs::write(into.join("mm/a"), lines(1..=60)).unwrap();
            fs::write(into.join("b"), lines(1..=30)).unwrap();
            fs::write(into.join("base"), base).unwrap();
            Ok(())
        };
        self.folder().prepare(base, patches, base.starts_with("git"), bring, &Quiet)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder().source().join(file)).ok()
    }

    fn changed(&self, file: &str) -> (i64, i64) {
        let meta = fs::metadata(self.folder().source().join(file)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    }
}

#[test]
fn patches_come_and_go_and_what_stays_the_same_is_not_written() {
    let at = Fixture::new();
    let (one, two) = (change("mm/a", 20, "twenty"), change("b", 10, "ten"));
    at.prepare("base", &[one.clone(), two.clone(), add("mm/new")]).unwrap();
    assert_eq!(at.read("mm/a"), Some(lines(1..=60).replace("\n20\n", "\ntwenty\n")));
    assert_eq!(at.read("mm/new").as_deref(), Some("new\n"));
    let (a, base) = (at.changed("mm/a"), at.changed("base"));

    // The first patch stays, the others go.
    at.prepare("base", std::slice::from_ref(&one)).unwrap();
    assert_eq!((at.changed("mm/a"), at.changed("base")), (a, base));
    assert_eq!((at.read("b"), at.read("mm/new")), (Some(lines(1..=30)), None));
    let b = at.changed("b");

    // Another patch of the same file builds on the base's version.
    at.prepare("base", &[change("mm/a", 20, "XX"), change("mm/a", 40, "XL")]).unwrap();
    assert_eq!(at.read("mm/a"), Some(lines(1..=60).replace("\n20\n", "\nXX\n").replace("\n40\n", "\nXL\n")));
    assert!(at.changed("mm/a") > a);

    at.prepare("base", &[]).unwrap();
    assert_eq!((at.read("mm/a"), at.changed("b")), (Some(lines(1..=60)), b));
    assert_eq!(at.brought.get(), 1);
}

#[test]
fn a_patch_that_does_not_apply_changes_nothing() {
    let at = Fixture::new();
    let good = change("mm/a", 20, "twenty");
    at.prepare("base", std::slice::from_ref(&good)).unwrap();
    let (a, b) = (at.changed("mm/a"), at.changed("b"));
    let bad = Patch { diff: change("mm/a", 20, "x").diff.replace(b"-20\n", b"-21\n"), title: "bad".into() };
    let error = at.prepare("base", &[change("b", 10, "ten"), bad]).unwrap_err();
    assert!(error.to_string().starts_with("patch 2 of 2, `bad`, does not apply\n  mm/a: hunk 1"), "{error}");
    at.prepare("base", &[good]).unwrap();
    assert_eq!((at.changed("mm/a"), at.changed("b"), at.brought.get()), (a, b, 1));
}

trait Replace {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        text(self).replace(&text(from), &text(to)).into_bytes()
    }
}

/// The state is removed while files change: without it nothing in the folder is trusted.
#[test]
fn a_folder_whose_state_is_not_known_is_made_anew() {
    let at = Fixture::new();
    for damage in ["", "{", "{\"base\":5}"] {
        at.prepare("base", &[change("b", 10, "ten")]).unwrap();
        let brought = at.brought.get();
        fs::write(at.folder().source().join("b"), "half").unwrap();
        fs::create_dir_all(at.folder().out("key")).unwrap();
        match damage {
            "" => fs::remove_file(at.folder().dir.join(STATE)).unwrap(),
            text => fs::write(at.folder().dir.join(STATE), text).unwrap(),
        }
        at.prepare("base", &[]).unwrap();
        assert_eq!((at.read("b"), at.brought.get()), (Some(lines(1..=30)), brought + 1), "{damage}");
        assert!(!at.folder().out("key").exists());
    }
}

#[test]
fn another_base_of_the_same_room_comes_in_place_or_anew() {
    let at = Fixture::new();
    at.prepare("git 1", &[change("b", 10, "ten"), add("new")]).unwrap();
    fs::create_dir_all(at.folder().out("key")).unwrap();
    at.prepare("git 2", &[change("mm/a", 20, "XX")]).unwrap();
    assert_eq!((at.read("base").as_deref(), at.read("b")), (Some("git 2"), Some(lines(1..=30))));
    assert_eq!(at.read("new"), None);
    assert!(at.read("mm/a").unwrap().contains("XX") && at.folder().out("key").exists());
    at.prepare("package", &[]).unwrap();
    assert!(!at.folder().out("key").exists());
}

/// Returns a patch that adds the link `file` to `to`, and one that removes it.
fn links(file: &str, to: &str) -> [Patch; 2] {
    let added = format!(
        "diff --git a/{file} b/{file}\nnew file mode 120000\n--- /dev/null\n+++ b/{file}\n@@ -0,0 +1 @@\n+{to}\n\\ No newline at end of file\n"
    );
    let removed = format!(
        "diff --git a/{file} b/{file}\ndeleted file mode 120000\n--- a/{file}\n+++ /dev/null\n@@ -1 +0,0 @@\n-{to}\n\\ No newline at end of file\n"
    );
    [added, removed].map(|diff| Patch { title: format!("link {file}"), diff: diff.into_bytes() })
}

/// A base with links to a folder and to a file outside of it, and the content of both.
struct Outside {
    at: Fixture,
    outside: tempfile::TempDir,
}

impl Outside {
    fn new() -> Self {
        let (at, outside) = (Fixture::new(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("f"), lines(1..=30)).unwrap();
        Self { at, outside }
    }

    fn prepare(&self, patches: &[Patch]) -> Result<()> {
        let outside = self.outside.path();
        let bring = |into: &Path| {
            fs::create_dir_all(into).unwrap();
            fs::write(into.join("b"), lines(1..=30)).unwrap();
            std::os::unix::fs::symlink(outside, into.join("dir")).unwrap();
            std::os::unix::fs::symlink(outside.join("f"), into.join("leaf")).unwrap();
            Ok(())
        };
        self.at.folder().prepare("base", patches, false, bring, &Quiet)
    }

    fn untouched(&self) -> bool {
        let names = fs::read_dir(self.outside.path()).unwrap().count();
        names == 1 && fs::read_to_string(self.outside.path().join("f")).unwrap() == lines(1..=30)
    }
}

#[test]
fn nothing_is_changed_beyond_a_link() {
    let at = Outside::new();
    at.prepare(&[]).unwrap();
    let delete = |file: &str| {
        let text: String = (1..=30).map(|n| format!("-{n}\n")).collect();
        let diff = format!(
            "diff --git a/{file} b/{file}\ndeleted file mode 100644\n--- a/{file}\n+++ /dev/null\n@@ -1,30 +0,0 @@\n{text}"
        );
        Patch { title: "delete".into(), diff: diff.into_bytes() }
    };
    let [link, _] = links("own", &at.outside.path().display().to_string());
    for patches in [
        vec![change("dir/f", 10, "ten")],
        vec![add("dir/new")],
        vec![add("dir/deep/new")],
        vec![delete("dir/f")],
        vec![rename("dir/f", "f")],
        vec![rename("b", "dir/b")],
        vec![change("leaf", 10, "ten")],
        vec![delete("leaf")],
        // A link that the series makes itself.
        vec![link.clone(), add("own/new")],
        vec![link, change("own/f", 10, "ten")],
    ] {
        let title = patches.last().map(|patch| patch.title.clone());
        let refused = at.prepare(&patches);
        assert!(matches!(refused, Err(CacheError::Refused(_))), "{title:?}: {refused:?}");
        assert!(at.untouched(), "{title:?}");
    }
    at.prepare(&[change("b", 10, "ten")]).unwrap();
    at.prepare(&[]).unwrap();
    assert!(at.untouched() && at.at.read("b") == Some(lines(1..=30)));
}

#[test]
fn links_come_change_and_go() {
    let at = Outside::new();
    let target = |file: &str| fs::read_link(at.at.folder().source().join(file)).ok();
    let [new, _] = links("new", "b");
    let [_, gone] = links("leaf", &at.outside.path().join("f").display().to_string());
    let [other, _] = links("leaf", "b");
    at.prepare(std::slice::from_ref(&new)).unwrap();
    assert_eq!(target("new"), Some("b".into()));
    // The link becomes a folder of that name, and the other way round.
    at.prepare(&[add("new/deep/f")]).unwrap();
    assert_eq!(at.at.read("new/deep/f").as_deref(), Some("new\n"));
    at.prepare(&[new, gone, other]).unwrap();
    assert_eq!((target("new"), target("leaf")), (Some("b".into()), Some("b".into())));
    at.prepare(&[]).unwrap();
    assert_eq!((target("new"), target("leaf")), (None, Some(at.outside.path().join("f"))));
    assert!(at.untouched());
}

#[test]
fn names_in_a_diff() {
    let text = "diff --git a/mode b/mode\nold mode 100644\nnew mode 100755\ndiff --git a/x y b/x y\n--- a/x y\t2024\n+++ b/x y\n\
        @@ -1,2 +1,2 @@\n--- looks/like one\n+++ b/../out\nrename from o\nrename to p/q\n--- /dev/null\n+++ b//etc/passwd\ndiff --git a/ b/\n";
    assert_eq!(Vec::from_iter(named(text.as_bytes())), ["like one", "mode", "o", "p/q", "x y"]);
}

fn some_patches() -> impl Strategy<Value = Vec<Patch>> {
    let all = [
        change("mm/a", 20, "XX"),
        change("mm/a", 40, "XL"),
        change("b", 10, "X"),
        add("new"),
        add("mm/deep/new"),
        rename("base", "mm/base"),
    ];
    proptest::sample::subsequence(all.to_vec(), 0..=6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the earlier patches, the files are those of a new folder with the same patches.
    #[test]
    fn any_way_leads_to_the_same_files(steps in proptest::collection::vec(some_patches(), 1..5)) {
        let (at, fresh) = (Fixture::new(), Fixture::new());
        for patches in &steps {
            at.prepare("base", patches).unwrap();
        }
        fresh.prepare("base", steps.last().unwrap()).unwrap();
        let files = |at: &Fixture| {
            let mut found = BTreeMap::new();
            list(&at.folder().source(), "", &mut |name, path| { found.insert(name, fs::read(path).unwrap()); }).unwrap();
            found
        };
        prop_assert_eq!(files(&at), files(&fresh));
        prop_assert_eq!(at.brought.get(), 1);
    }
}

/// git quotes such a name. A file of that name is changed, and an added one does not replace an
/// existing one.
#[test]
fn a_name_between_quotes_is_that_of_a_file() {
    let at = Fixture::new();
    let file = at.folder().source().join("mm/\u{e4}");
    let bring = |into: &Path| {
        fs::create_dir_all(into.join("mm")).unwrap();
        fs::write(into.join("mm/\u{e4}"), "old\n").unwrap();
        Ok(())
    };
    let prepare = |diff: &str| {
        let patch = Patch { title: "quoted".into(), diff: diff.as_bytes().into() };
        at.folder().prepare("base", &[patch], false, bring, &Quiet)
    };
    prepare("--- \"a/mm/\\303\\244\"\n+++ \"b/mm/\\303\\244\"\n@@ -1 +1 @@\n-old\n+new\n").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
    prepare("diff --git \"a/mm/\\303\\244\" \"b/mm/\\303\\244\"\nold mode 100644\nnew mode 100755\n")
        .unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    let added = prepare("--- /dev/null\n+++ \"b/mm/\\303\\244\"\n@@ -0,0 +1 @@\n+new\n");
    assert!(matches!(added, Err(CacheError::Refused(_))), "{added:?}");
    let foreign = prepare(
        "diff --git \"a/\\377\" \"b/\\377\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\377\"\n@@ -0,0 +1 @@\n+new\n",
    );
    assert!(matches!(foreign, Err(CacheError::Malformed { .. })), "{foreign:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
}
