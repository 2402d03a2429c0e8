//! `--kernel` and related arguments: the kernels that a verb uses.

use crate::cli::failure::Failure;
use crate::home;
use clap::{Args, ValueEnum};
use s2lab_model::kernel::Trait;
use std::{collections::BTreeSet, path::PathBuf};

#[derive(Debug, Args, Default, Clone, PartialEq, Eq)]
pub(crate) struct KernelArguments {
    /// An entry of images/kernels.yaml, the path of an arm64 Image or its URL#sha256=DIGEST, or
    /// tree:PATH[@COMMIT|@A..B]; repeatable; default: the default entries
    #[arg(long = "kernel", value_name = "NAME|PATH|URL|TREE")]
    pub(crate) kernels: Vec<String>,
    /// Modules of the Image: a folder with .ko files in any depth, or URL#sha256=DIGEST of a tar
    /// archive; default: all are built in
    #[arg(long, value_name = "DIR|URL", requires = "kernels", value_parser = home::argument())]
    pub(crate) modules: Option<PathBuf>,
    /// Configuration of the Image, or what to build the tree with; default for a tree:
    /// images/config/boot.config and nothing else
    #[arg(long, value_name = "FILE", requires = "kernels", value_parser = home::argument())]
    pub(crate) config: Option<PathBuf>,
    /// System.map of the Image: addresses in its crashes get names
    #[arg(long, value_name = "FILE", requires = "kernels", value_parser = home::argument())]
    pub(crate) system_map: Option<PathBuf>,
    /// Build tree:PATH as it is now, in the cache; commits are always built
    #[arg(long, requires = "kernels")]
    pub(crate) build: bool,
    /// Apply a mailbox or a folder of patches on top of the kernels, which must be built from
    /// source
    #[arg(long, value_name = "MBOX|DIR", requires = "kernels", value_parser = home::argument())]
    pub(crate) series: Option<PathBuf>,
    /// Traits that these kernels have, and no others; repeatable; default: those of the entry below
    /// --series must hold, the rest is open
    #[arg(long = "trait", value_name = "TRAIT", value_enum, requires = "kernels")]
    pub(crate) traits: Vec<Declared>,
}

/// An argument of `--trait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Declared {
    WcConveyed,
    WcHonoured,
    #[value(name = "pfnmap-stage1-leaf")]
    PfnmapStage1Leaf,
    CacheableByVma,
    ProtectedRamAlone,
    // Declares that it has none.
    None,
}

impl KernelArguments {
    /// Returns the arguments for the same kernels.
    pub(crate) fn words(&self) -> Vec<String> {
        let Self { kernels, modules, config, system_map, build, series, traits } = self;
        let option = |name: &str, value: String| [name.to_owned(), value];
        let kernels = kernels.iter().map(|kernel| option("--kernel", kernel.clone()));
        let files = [
            ("--modules", modules),
            ("--config", config),
            ("--system-map", system_map),
            ("--series", series),
        ];
        let files = files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        let files = files.map(|(name, path)| option(name, path.display().to_string()));
        let traits = traits.iter().filter_map(|declared| {
            Some(option("--trait", declared.to_possible_value()?.get_name().to_owned()))
        });
        let build = build.then(|| "--build".to_owned());
        kernels.chain(files).chain(traits).flatten().chain(build).collect()
    }

    /// The declared traits; none if nothing is declared.
    pub(crate) fn declared(&self) -> Result<Option<BTreeSet<Trait>>, Failure> {
        if self.traits.is_empty() {
            return Ok(None);
        }
        if self.traits.contains(&Declared::None) && self.traits.iter().any(|one| *one != Declared::None) {
            let message = "--trait none says that there is none, and another --trait names one".into();
            return Err(Failure::Usage { message, hint: None });
        }
        let each = self.traits.iter().filter_map(|declared| match declared {
            Declared::WcConveyed => Some(Trait::WcConveyed),
            Declared::WcHonoured => Some(Trait::WcHonoured),
            Declared::PfnmapStage1Leaf => Some(Trait::PfnmapStage1Leaf),
            Declared::CacheableByVma => Some(Trait::CacheableByVma),
            Declared::ProtectedRamAlone => Some(Trait::ProtectedRamAlone),
            Declared::None => None,
        });
        Ok(Some(each.collect()))
    }
}
