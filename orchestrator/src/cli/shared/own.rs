//! Your own kernels: given by a path, out of a tree, with a series on top.

use crate::cli::{
    failure::Failure,
    shared::{kernels::KernelArguments, mutants::MutantKernels},
};
use crate::{
    boot::kernel::{
        named::{CustomKernel, entry_series, series_origin},
        ready::{KernelConfig, read_symbols},
        resolved::{FetchedImage, ImageChoice, KernelRequest, Place, tree_as_it_is, wanted},
    },
    home,
    lab::Lab,
};
use s2lab_cache::{
    BuildConfig, CacheError, ConfigFile, KernelBuild, KernelSource,
    revisions::{Commit, commits},
    series::Series,
};
use s2lab_model::{
    diagnostic::few,
    event::SeriesOrigin,
    kernel::{self, Provider, Trait, Traits, Tree},
    mutants,
    plan::{Artifact, KernelArgument, KernelChoice, PlanError, Revisions, commit_name, label, with_series},
};
use s2lab_os::outside::{self, kinds};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// The number of digits of its digest that name a series without a name.
const DIGITS: usize = 12;
/// The configuration that trees are built with by default, in the lab's folder images.
const CONFIG: &str = "config/boot.config";

/// The kernels that the arguments name.
pub(crate) struct Kernels {
    /// The kernels, in the arguments' order.
    pub(crate) choices: Vec<KernelChoice>,
    /// The choices that are not a plain entry.
    pub(crate) own: Vec<OwnKernel>,
}

/// A kernel that is not listed, and the arguments that mean it alone.
pub(crate) struct OwnKernel {
    pub(crate) kernel: CustomKernel,
    /// The traits of the kernel that it is made of. They must still hold; the rest is open.
    pub(crate) declared: BTreeSet<Trait>,
    pub(crate) words: Vec<String>,
}

/// Resolves `--kernel` and the related arguments. It looks for files, reads patches and fragments
/// of configurations, and asks git for commits.
pub(crate) fn kernels(
    lab: &Lab,
    listed: &kernel::Kernels,
    arguments: &KernelArguments,
) -> Result<Kernels, Failure> {
    let mut parsed = Vec::new();
    for argument in &arguments.kernels {
        let kernel = KernelArgument::parse(argument, listed, &|path| home::expand(path).is_dir())?;
        if !parsed.contains(&kernel) {
            parsed.push(kernel);
        }
    }
    check(&parsed, arguments)?;
    let traits = arguments.declared()?;
    let series = arguments.series.as_deref().map(read_series).transpose()?;
    let resolve = Resolve { folder: lab.images(), listed, arguments };
    let mut mutated = MutantKernels::new(lab);
    let mut found = Kernels { choices: Vec::new(), own: Vec::new() };
    for kernel in parsed {
        let own = match (kernel, &series) {
            (KernelArgument::Listed(name), None) => {
                found.choices.push(KernelChoice::Listed(name));
                continue;
            }
            (KernelArgument::Listed(name), Some(_)) => vec![resolve.entry(name)?],
            (KernelArgument::Image(path), None) => vec![resolve.image(path)?],
            (KernelArgument::Image(path), Some(_)) => return Err(resolve.not_from_source(&path)),
            (KernelArgument::Fetched(artifact), None) => vec![resolve.fetched(artifact)?],
            (KernelArgument::Fetched(artifact), Some(_)) => {
                return Err(resolve.not_from_source(&artifact.url));
            }
            (KernelArgument::Tree { path, revisions }, _) => resolve.tree(&path, revisions)?,
            (KernelArgument::Mutant { base, name }, None) => {
                let (kernel, traits) = mutated.kernel(listed, &base, &name)?;
                let label = kernel.label.clone();
                let words = option("--kernel", Some(Path::new(&label)));
                found.choices.push(KernelChoice::Own { label, traits: Traits::Exactly(traits) });
                found.own.push(OwnKernel { kernel, declared: BTreeSet::new(), words });
                continue;
            }
            (KernelArgument::Mutant { base, name }, Some(_)) => {
                let message = format!(
                    "--series: {} is a mutant, and takes no series on top",
                    mutants::kernel(&base, &name)
                );
                let hint = Some(format!("add the mistake to the series, and put it on top of {base}"));
                return Err(Failure::Usage { message, hint });
            }
        };
        for mut own in own {
            if let (Some((name, series)), KernelRequest::Built(build)) = (&series, &mut own.kernel.wanted) {
                build.patches.extend(series.patches.iter().cloned());
                own.kernel.label = with_series(&own.kernel.label, name);
                build.name.clone_from(&own.kernel.label);
                // An entry's own patches come first, and are a part of the whole.
                let files = own.kernel.series.take().map(|of_entry| of_entry.files).unwrap_or_default();
                let all = series_origin(series.lead.as_ref(), &build.patches);
                own.kernel.series = Some(SeriesOrigin { files, ..all });
            }
            own.words.extend(on_top(arguments));
            // A commit may be in two ranges.
            if found.own.iter().any(|other| other.words == own.words) {
                continue;
            }
            let label = own.kernel.label.clone();
            let open = || Traits::AtLeast(own.declared.clone());
            let traits = traits.clone().map_or_else(open, Traits::Exactly);
            found.choices.push(KernelChoice::Own { label, traits });
            found.own.push(own);
        }
    }
    Ok(found)
}

/// Returns the series and its name.
fn read_series(path: &Path) -> Result<(String, Series), Failure> {
    let series = Series::read(path)?;
    for mail in &series.skipped {
        tracing::info!("{}: not applied: {}, {}", path.display(), mail.subject, mail.why);
    }
    // The shell's `<(...)` has a number for a name, which changes each time.
    if outside::is_pipe(path) {
        let digits: String = series.digest().chars().take(DIGITS).collect();
        return Ok((format!("series-{digits}"), series));
    }
    let real = path.canonicalize().map_err(Failure::io(path.display().to_string()))?;
    Ok((label(&real.to_string_lossy())?, series))
}

/// Checks that the arguments go with the kernels.
fn check(kernels: &[KernelArgument], arguments: &KernelArguments) -> Result<(), Failure> {
    let usage = |message: String| Err(Failure::Usage { message, hint: None });
    let count = |is: fn(&KernelArgument) -> bool| kernels.iter().filter(|kernel| is(kernel)).count();
    let images = count(|kernel| matches!(kernel, KernelArgument::Image(_) | KernelArgument::Fetched(_)));
    let trees = count(|kernel| matches!(kernel, KernelArgument::Tree { .. }));
    let by_path = images + trees;
    for (argument, path, number) in [
        ("--modules", &arguments.modules, images),
        ("--config", &arguments.config, by_path),
        ("--system-map", &arguments.system_map, images),
    ] {
        if path.is_some() && number != 1 {
            return usage(format!(
                "{argument} belongs to one kernel given by its path, and there are {number}"
            ));
        }
    }
    if arguments.build && trees == 0 {
        return usage("--build builds a tree, and there is none: --kernel tree:PATH names one".into());
    }
    if !arguments.traits.is_empty() && by_path == 0 && arguments.series.is_none() {
        let message =
            "--trait is for your own kernels; an entry of images/kernels.yaml declares its traits there";
        return usage(message.into());
    }
    if let Some(Place::Path(modules)) =
        modules(arguments)?.filter(|place| !matches!(place, Place::Path(path) if path.is_dir()))
    {
        return Err(no_such("modules", &modules, "folder"));
    }
    if let Some(config) = &arguments.config {
        KernelConfig::read(config).map_err(unreadable("config", config))?;
    }
    if let Some(map) = &arguments.system_map {
        read_symbols(map).map_err(unreadable("system-map", map))?;
    }
    Ok(())
}

/// Returns the place of the modules of an Image.
fn modules(arguments: &KernelArguments) -> Result<Option<Place>, Failure> {
    let Some(path) = &arguments.modules else { return Ok(None) };
    let url = path.to_str().and_then(|text| Some((text, Artifact::parse(text)?)));
    Ok(Some(match url {
        None => Place::Path(path.clone()),
        Some((text, artifact)) => {
            let wrong = |why| PlanError::Url { argument: text.to_owned(), why };
            Place::Url(artifact.map_err(wrong)?)
        }
    }))
}

/// The parts that all kernels of a command line have in common.
struct Resolve<'a> {
    /// The folder of `kernels.yaml`.
    folder: PathBuf,
    listed: &'a kernel::Kernels,
    arguments: &'a KernelArguments,
}

impl Resolve<'_> {
    /// Returns an entry that is built, to which patches are added.
    fn entry(&self, name: String) -> Result<OwnKernel, Failure> {
        match wanted(self.listed, &name, &self.folder)? {
            KernelRequest::Built(build) => {
                let about = format!("{name} of images/kernels.yaml with --series on top");
                let words = option("--kernel", Some(Path::new(&name)));
                let declared = self.listed.entries.get(&name).map(|entry| entry.traits.clone());
                let declared = declared.unwrap_or_default();
                let mut own = OwnKernel { declared, ..own(&name, KernelRequest::Built(build), about, words) };
                own.kernel.series = entry_series(self.listed, &name, &self.folder);
                Ok(own)
            }
            _ => Err(self.not_from_source(&name)),
        }
    }

    fn image(&self, path: String) -> Result<OwnKernel, Failure> {
        let image = home::expand(&path);
        if !image.is_file() {
            if image.is_dir() {
                let message = format!("{} is a folder, not an Image", image.display());
                let hint = format!("a kernel's tree is --kernel tree:{}", image.display());
                return Err(Failure::Usage { message, hint: Some(hint) });
            }
            return Err(no_such("kernel", &image, "file"));
        }
        self.given(&path, label(&path)?, Place::Path(image))
    }

    fn fetched(&self, artifact: Artifact) -> Result<OwnKernel, Failure> {
        let label = label(artifact.name())?;
        self.given(&artifact.to_string(), label, Place::Url(artifact))
    }

    /// Returns a kernel that is a file, of this argument.
    fn given(&self, argument: &str, label: String, image: Place) -> Result<OwnKernel, Failure> {
        let modules = modules(self.arguments)?;
        let from = modules.as_ref().map(|place| format!(", modules from {place}"));
        let about = format!("a file, {argument}{}", from.unwrap_or_default());
        let KernelArguments { config, system_map, .. } = self.arguments.clone();
        let words = [
            option("--kernel", Some(Path::new(argument))),
            option("--modules", self.arguments.modules.as_deref()),
            option("--config", config.as_deref()),
            option("--system-map", system_map.as_deref()),
        ];
        let name = label.clone();
        let request = match (image, modules) {
            (Place::Path(image), None) => {
                KernelRequest::File(ImageChoice { label, image, modules: None, config, system_map })
            }
            (Place::Path(image), Some(Place::Path(dir))) => {
                KernelRequest::File(ImageChoice { label, image, modules: Some(dir), config, system_map })
            }
            (image, modules) => {
                KernelRequest::Fetched(FetchedImage { label, image, modules, config, system_map })
            }
        };
        Ok(own(&name, request, about, words.concat()))
    }

    fn tree(&self, path: &str, revisions: Option<Revisions>) -> Result<Vec<OwnKernel>, Failure> {
        let real = home::expand(path).canonicalize().ok().filter(|real| real.is_dir());
        let Some(real) = real else {
            return Err(no_such("kernel", Path::new(&format!("tree:{path}")), "folder"));
        };
        let name = label(&real.to_string_lossy())?;
        let words = |tree: String| {
            let config = option("--config", self.arguments.config.as_deref());
            [vec!["--kernel".to_owned(), tree], config].concat()
        };
        let Some(revisions) = revisions else {
            let mut words = words(format!("tree:{path}"));
            if !self.arguments.build && self.arguments.series.is_none() {
                return Ok(vec![self.built_tree(&name, &real, words)?]);
            }
            if !real.join("Kconfig").is_file() {
                let message = format!("{} is not a kernel's tree: it has no Kconfig", real.display());
                return Err(Failure::Usage { message, hint: Some("name its top folder".into()) });
            }
            let what = format!("the tree {} as it is now", real.display());
            words.extend(self.arguments.build.then(|| "--build".to_owned()));
            return Ok(vec![self.build(&name, KernelSource::Folder(real), what, words)?]);
        };
        let commit = |Commit { id, title }: Commit| {
            let what = format!("commit {id} of {}, {title}", real.display());
            let source = KernelSource::Revision { repository: real.clone(), revision: id.clone() };
            self.build(&commit_name(&name, &id), source, what, words(format!("tree:{path}@{id}")))
        };
        commits(&real, &revisions)?.into_iter().map(commit).collect()
    }

    /// Returns a tree that was built by the user.
    fn built_tree(&self, name: &str, tree: &Path, words: Vec<String>) -> Result<OwnKernel, Failure> {
        let mut choice = tree_as_it_is(name, tree).map_err(|error| match error {
            CacheError::NotBuilt { .. } => Failure::Usage {
                message: error.to_string(),
                hint: Some("--build builds it, in the cache; tree:PATH@HEAD builds its last commit".into()),
            },
            error => Failure::Cache(error),
        })?;
        choice.config = self.arguments.config.clone().or(choice.config);
        Ok(own(
            name,
            KernelRequest::File(choice),
            format!("the tree {} as it was built", tree.display()),
            words,
        ))
    }

    fn build(
        &self,
        name: &str,
        source: KernelSource,
        what: String,
        words: Vec<String>,
    ) -> Result<OwnKernel, Failure> {
        let read = |path: &Path, name: String| {
            let text = outside::read_text(path, kinds::CONFIG)?;
            Ok::<_, Failure>(ConfigFile { name, text })
        };
        let (config, with) = match &self.arguments.config {
            Some(path) => {
                let name = path.display().to_string();
                (BuildConfig::Whole(read(path, name.clone())?), name)
            }
            None => {
                let file = read(&self.folder.join(CONFIG), CONFIG.to_owned())?;
                (BuildConfig::Fragments(vec![file]), format!("images/{CONFIG} and nothing else"))
            }
        };
        let build = KernelBuild { name: name.to_owned(), source, config, patches: Vec::new() };
        Ok(own(name, KernelRequest::Built(build), format!("{what}, built with {with}"), words))
    }

    fn not_from_source(&self, kernel: &str) -> Failure {
        let built = self.listed.entries.iter().filter(|(_, entry)| {
            matches!(&entry.provider, Provider::Source(_) | Provider::Tree(Tree { build: true, .. }))
        });
        let known = ["tree:PATH"].into_iter().chain(built.map(|(name, _)| name.as_str()));
        Failure::Usage {
            message: format!("--series: {kernel} is not built from source, so nothing can be applied on top"),
            hint: Some(format!("one of {}", few(known))),
        }
    }
}

/// `words` are the arguments that mean this kernel, up to what all own kernels have in common.
fn own(label: &str, wanted: KernelRequest, about: String, words: Vec<String>) -> OwnKernel {
    let kernel = CustomKernel { label: label.to_owned(), wanted, about, series: None, arguments: vec![] };
    OwnKernel { kernel, declared: BTreeSet::new(), words }
}

fn option(name: &str, path: Option<&Path>) -> Vec<String> {
    path.iter().flat_map(|path| [name.to_owned(), path.display().to_string()]).collect()
}

/// The arguments that all own kernels have in common.
fn on_top(arguments: &KernelArguments) -> Vec<String> {
    let mut words = option("--series", arguments.series.as_deref());
    for declared in &arguments.traits {
        let value = clap::ValueEnum::to_possible_value(declared);
        words.extend(value.iter().flat_map(|value| ["--trait".to_owned(), value.get_name().to_owned()]));
    }
    words
}

fn unreadable(argument: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Usage { message: format!("--{argument} {}: {error}", path.display()), hint: None }
}

fn no_such(argument: &str, path: &Path, what: &str) -> Failure {
    Failure::Usage { message: format!("--{argument} {}: no such {what}", path.display()), hint: None }
}
