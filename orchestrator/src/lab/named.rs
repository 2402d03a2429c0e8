//! The files that `images/kernels.yaml` names: whether they are there, and are what they must be.

use super::{KERNELS, Lab, LabError, Mistake, Mistakes, read, shown};
use crate::{
    boot::kernel::ready::{KernelConfig, read_symbols},
    home,
};
use s2lab_cache::series::Series;
use s2lab_model::kernel::{FileKind, NamedFile, check_named, named_files};
use s2lab_os::outside::{self, kinds};
use std::{collections::BTreeSet, io, path::Path};

impl Lab {
    /// Checks all files that the list of kernels names. Returns how many there are.
    ///
    /// # Errors
    /// Returns the mistakes of all files, each at its place in the list.
    pub fn check_named(&self) -> Result<usize, LabError> {
        let path = self.root.join(KERNELS);
        let mistake = |mistake| LabError::Mistakes(Mistakes(vec![mistake]));
        let text = read(&path).map_err(mistake)?;
        let files = named_files(&text);
        let wrong = files.iter().filter_map(|file| Some((file, self.wrong(file)?)));
        check_named(&shown(&path), &text, wrong).map_err(Mistake::Written).map_err(mistake)?;
        Ok(files.iter().map(|file| &file.path).collect::<BTreeSet<_>>().len())
    }

    /// Returns what is wrong with the file.
    fn wrong(&self, file: &NamedFile) -> Option<String> {
        let path = self.images().join(home::expand(&file.path));
        let is_file = |kind| outside::check(&path, kind).err().map(|error| error.why.to_string());
        let content = |read: Result<(), io::Error>| read.err().map(|error| error.to_string());
        match file.kind {
            FileKind::Tree | FileKind::Modules => folder(&path),
            FileKind::Fragment => {
                outside::read_text(&path, kinds::CONFIG).err().map(|error| error.why.to_string())
            }
            FileKind::Config => {
                is_file(kinds::CONFIG).or_else(|| content(KernelConfig::read(&path).map(drop)))
            }
            FileKind::SystemMap => {
                is_file(kinds::SYSTEM_MAP).or_else(|| content(read_symbols(&path).map(drop)))
            }
            FileKind::Image => is_file(kinds::IMAGE),
            FileKind::Patches => Series::gather(&[path]).err().map(|error| error.why()),
        }
    }
}

fn folder(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => None,
        Ok(_) => Some("it is not a folder".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}
