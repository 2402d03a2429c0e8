//! The kernels of mutants: an entry of `images/kernels.yaml` with all its mutants built in, of which
//! one is chosen.

use crate::{
    boot::kernel::{
        named::{CustomKernel, entry_series, series_origin},
        resolved::{KernelRequest, wanted},
    },
    cli::failure::Failure,
    lab::{Lab, mutants::MutantSet},
};
use s2lab_model::{
    diagnostic::{few, suggest},
    event::SeriesOrigin,
    kernel::{Kernels, Trait},
    mutants::{self, Mutant, NONE, kernel},
    plan::PlanError,
};
use std::collections::{BTreeMap, BTreeSet};

/// The mutants of kernels, each folder of which is read once.
pub(crate) struct MutantKernels<'a> {
    lab: &'a Lab,
    sets: BTreeMap<String, MutantSet>,
}

impl<'a> MutantKernels<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        Self { lab, sets: BTreeMap::new() }
    }

    /// Returns the kernel `base` with all its mutants, of which `name` is chosen, and its traits: a
    /// mutant declares what its kernel does.
    pub(crate) fn kernel(
        &mut self,
        listed: &Kernels,
        base: &str,
        name: &str,
    ) -> Result<(CustomKernel, BTreeSet<Trait>), Failure> {
        let images = self.lab.images();
        let set = self.set(base)?;
        let about = match set.mutants.iter().find(|mutant| mutant.name == name) {
            Some(Mutant { about, .. }) => format!("mutant {name} of {base}: {about}"),
            None if name == NONE => format!("{base} with all its mutants, of which none is chosen"),
            None => return Err(unknown(base, name, set).into()),
        };
        let KernelRequest::Built(mut build) = wanted(listed, base, &images)? else {
            let message = format!("{base} is not built from source, so it cannot have mutants");
            return Err(Failure::Usage { message, hint: None });
        };
        build.patches.extend(set.series.patches.iter().cloned());
        // All mutants are one build.
        build.name = format!("{base} with its mutants");
        let origin = series_origin(None, &build.patches);
        let of_entry = entry_series(listed, base, &images).map(|series| series.files).unwrap_or_default();
        let files = of_entry.into_iter().chain([set.folder.clone()]).collect();
        let kernel = CustomKernel {
            label: kernel(base, name),
            wanted: KernelRequest::Built(build),
            about,
            series: Some(SeriesOrigin { files, ..origin }),
            arguments: mutants::argument(name).into_iter().collect(),
        };
        let traits = listed.entries.get(base).map(|entry| entry.traits.clone()).unwrap_or_default();
        Ok((kernel, traits))
    }

    /// Returns the mutants of the kernel `base`.
    pub(crate) fn set(&mut self, base: &str) -> Result<&MutantSet, Failure> {
        if !self.sets.contains_key(base) {
            let set = self.lab.mutant_set(base)?.ok_or_else(|| no_mutants(self.lab, base))?;
            self.sets.insert(base.to_owned(), set);
        }
        // It was inserted if it was not there.
        self.sets.get(base).ok_or_else(|| no_mutants(self.lab, base))
    }
}

fn no_mutants(lab: &Lab, base: &str) -> Failure {
    let known = lab.mutant_bases().unwrap_or_default();
    let hint = match known.is_empty() {
        true => "the lab folder has no images/mutants".to_owned(),
        false => format!("kernels with mutants: {}", few(known.iter().map(String::as_str))),
    };
    Failure::Usage { message: format!("{base} has no mutants"), hint: Some(hint) }
}

fn unknown(base: &str, name: &str, set: &MutantSet) -> PlanError {
    let known = set.mutants.iter().map(|mutant| mutant.name.as_str()).chain([NONE]);
    PlanError::NoMutant { base: base.to_owned(), name: name.to_owned(), help: suggest(name, known) }
}
