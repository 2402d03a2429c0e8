//! The mutants of a lab folder: `images/mutants/KERNEL/`, a folder of patches for each kernel that has
//! mutants.

use super::{Lab, LabError};
use s2lab_cache::series::Series;
use s2lab_model::mutants::{self, Mutant};
use s2lab_os::outside::{self, kinds};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// The folder of mutants in that of `kernels.yaml`.
const MUTANTS: &str = "mutants";
/// The extension of a patch.
const PATCH: &str = "patch";

/// The mutants of one kernel.
pub struct MutantSet {
    /// The patches that build all of them in.
    pub series: Series,
    /// The mutants in the order of their patches.
    pub mutants: Vec<Mutant>,
    /// The folder of the patches, relative to the lab folder.
    pub folder: String,
}

impl Lab {
    /// Returns the kernels that have mutants, sorted.
    pub fn mutant_bases(&self) -> Result<Vec<String>, LabError> {
        let folder = self.mutants();
        let read = |source| LabError::Read { path: folder.clone(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(read)?,
        };
        let mut names = vec![];
        for entry in entries {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'));
            names.extend(name.filter(|_| entry.path().is_dir()));
        }
        names.sort();
        Ok(names)
    }

    /// Reads the mutants of the kernel `base`. Returns None if it has none.
    pub fn mutant_set(&self, base: &str) -> Result<Option<MutantSet>, LabError> {
        let folder = self.mutants().join(base);
        if !folder.is_dir() {
            return Ok(None);
        }
        let wrong = |path: &Path, why: String| LabError::Mutant { path: path.to_owned(), why };
        let series = Series::read(&folder).map_err(|error| wrong(&folder, error.why()))?;
        let (mut all, mut names) = (vec![], BTreeSet::new());
        for path in patches(&folder)? {
            let text =
                outside::read_text(&path, kinds::PATCHES).map_err(|e| wrong(&path, e.why.to_string()))?;
            let Some(mutant) = mutants::mutant(&text).map_err(|error| wrong(&path, error.to_string()))?
            else {
                continue;
            };
            if !names.insert(mutant.name.clone()) {
                return Err(wrong(&path, format!("another patch is the mutant `{}`", mutant.name)));
            }
            all.push(mutant);
        }
        let folder = format!("{}/{MUTANTS}/{base}", super::IMAGES);
        Ok(Some(MutantSet { series, mutants: all, folder }))
    }

    fn mutants(&self) -> PathBuf {
        self.images().join(MUTANTS)
    }
}

/// Returns the patches of a folder in their order, which is that of their names.
fn patches(folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let read = |source| LabError::Read { path: folder.to_owned(), source };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        found.extend(Some(path).filter(|path| path.extension().is_some_and(|end| end == PATCH)));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenarios;
    use s2lab_model::{
        mutants::PlannedMutant,
        scenario::{Promise, Scenario},
    };

    fn checkout() -> Lab {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Lab::find(Some(&root), &root).unwrap().unwrap()
    }

    fn all(lab: &Lab) -> Vec<PlannedMutant> {
        let of = |base: String| {
            let set = lab.mutant_set(&base).unwrap().unwrap();
            set.mutants.into_iter().map(move |mutant| PlannedMutant { mutant, base: base.clone() })
        };
        lab.mutant_bases().unwrap().into_iter().flat_map(of).collect()
    }

    /// Compares the part of a document between two marks, or writes it with `S2LAB_UPDATE_DOCS=1`.
    fn hold(document: &str, mark: &str, table: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
        let mut text = std::fs::read_to_string(&path).unwrap();
        let mark = format!("<!-- {mark} -->\n");
        let from = text.find(&mark).unwrap() + mark.len();
        let to = from + text[from..].find("<!-- end -->").unwrap();
        if std::env::var_os("S2LAB_UPDATE_DOCS").is_some() {
            text.replace_range(from..to, table);
            std::fs::write(&path, &text).unwrap();
        } else {
            assert_eq!(&text[from..to], table, "{document}");
        }
    }

    fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_document_has_each_promise_with_its_proof() {
        let lab = checkout();
        let (scenarios, mutants) = (scenarios(&lab.scenario_files().unwrap()).unwrap(), all(&lab));
        let mut table = "| promise | scenarios | mutants |\n|---|---|---|\n".to_owned();
        for (promise, _) in Promise::all() {
            let holders = scenarios.iter().filter(|scenario| scenario.held_up().contains(&promise));
            let holders = names(holders.map(|scenario| scenario.scenario.as_str()));
            let breaks = |planned: &&PlannedMutant| {
                planned.mutant.cannot_show.is_none() && planned.mutant.breaks.promises.contains(&promise)
            };
            let breaking: BTreeSet<_> =
                mutants.iter().filter(breaks).map(|planned| &*planned.mutant.name).collect();
            table.push_str(&format!("| {promise} | {holders} | {} |\n", names(breaking.into_iter())));
        }
        hold("promises.md", "proofs", &table);
    }

    #[test]
    fn the_document_has_each_mutant() {
        let lab = checkout();
        let mut table =
            "| mutant of | name | area | mistake | breaks | like |\n|---|---|---|---|---|---|\n".to_owned();
        for PlannedMutant { mutant, base } in all(&lab) {
            let Mutant { name, about, area, breaks, like, cannot_show } = mutant;
            let cannot = cannot_show.map(|why| format!("; cannot show: {why}")).unwrap_or_default();
            let like = like.unwrap_or_default();
            table.push_str(&format!(
                "| `{base}` | `{name}` | {area} | {about} | {breaks}{cannot} | {like} |\n"
            ));
        }
        hold("mutants.md", "mutants", &table);
    }

    /// A promise of a mutant that runs is held up by a scenario that runs on it.
    #[test]
    fn each_mutant_has_a_scenario() {
        let lab = checkout();
        let scenarios = scenarios(&lab.scenario_files().unwrap()).unwrap();
        for planned in all(&lab).iter().filter(|planned| planned.mutant.cannot_show.is_none()) {
            let concerns = |scenario: &Scenario| planned.mutant.concerns(scenario);
            assert!(scenarios.iter().any(concerns), "{}", planned.kernel());
        }
    }

    #[test]
    fn patches_of_a_set_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("images/mutants/k");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(dir.path().join("images/kernels.yaml"), "").unwrap();
        let lab = Lab::find(Some(dir.path()), dir.path()).unwrap().unwrap();
        assert_eq!(lab.mutant_bases().unwrap(), ["k"]);
        assert!(lab.mutant_set("other").unwrap().is_none());
        let write = |file: &str, name: &str, breaks: &str| {
            let header = format!("Subject: [PATCH] x\n\nMutant: {name}\nArea: mm\nBreaks: {breaks}\n---\n");
            let diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n";
            std::fs::write(folder.join(file), header + diff).unwrap();
        };
        let error = || lab.mutant_set("k").err().unwrap().to_string();
        assert!(error().ends_with("it has no file *.patch or *.diff"), "{}", error());
        write("0002-b.patch", "b", "I1");
        write("0001-a.patch", "a", "nothing");
        let set = lab.mutant_set("k").unwrap().unwrap();
        let found: Vec<_> = set.mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!((found, set.series.patches.len()), (vec!["a", "b"], 2));
        write("0003-c.patch", "a", "I1");
        assert!(error().ends_with("0003-c.patch: another patch is the mutant `a`"), "{}", error());
        write("0003-c.patch", "c", "I18");
        assert!(error().contains("0003-c.patch: `Breaks: I18`: `I18` is not a promise"), "{}", error());
    }
}
