//! `--kernel` and its like: which kernels a verb means, and the cells that follow.

use super::Failure;
use crate::{
    lab::{Lab, scenarios},
    run::images::{ImageChoice, KernelConfig, read_symbols},
};
use clap::Args;
use s2lab_model::{
    event::PlannedCell,
    kernel::Kernels,
    plan::{KernelChoice, Selection, plan},
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, Args, Default)]
pub(super) struct KernelArguments {
    /// A kernel of images/kernels.yaml, or the path of an arm64 Image; repeatable; default: the default kernels
    #[arg(long = "kernel", value_name = "NAME|PATH")]
    pub(super) kernels: Vec<String>,
    /// Modules of the kernel given by its path: a folder with .ko files in any depth; default: all are built in
    #[arg(long, value_name = "DIR", requires = "kernels")]
    pub(super) modules: Option<PathBuf>,
    /// Configuration of the kernel given by its path: what it lacks is named before it boots
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub(super) config: Option<PathBuf>,
    /// System.map of the kernel given by its path: addresses in its crashes get names
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub(super) system_map: Option<PathBuf>,
}

/// What is to be run.
pub(super) struct Planned {
    pub(super) kernels: Kernels,
    pub(super) images: Vec<ImageChoice>,
    pub(super) cells: Vec<PlannedCell>,
}

/// Resolves the arguments to cells.
pub(super) fn planned(lab: &Lab, what: &[String], kernels: &KernelArguments) -> Result<Planned, Failure> {
    let (files, selectors): (Vec<_>, Vec<_>) = what.iter().cloned().partition(|argument| is_file(argument));
    let mut paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    // Files alone are all there is; with selectors the lab's scenarios are there too.
    if files.is_empty() || !selectors.is_empty() {
        paths.extend(lab.scenario_files()?);
    }
    let scenarios = scenarios(&each_once(paths))?;
    let from_files = files.iter().filter_map(|file| Path::new(file).file_stem()?.to_str().map(str::to_owned));
    let selectors =
        if selectors.is_empty() { selectors } else { selectors.into_iter().chain(from_files).collect() };
    let listed = lab.kernels()?;
    let choices = kernels
        .kernels
        .iter()
        .map(|name| KernelChoice::parse(name, &listed))
        .collect::<Result<Vec<_>, _>>()?;
    let images: Vec<_> = choices
        .iter()
        .filter_map(|choice| match choice {
            KernelChoice::Image { path, label } => Some(ImageChoice {
                label: label.clone(),
                image: path.into(),
                modules: kernels.modules.clone(),
                config: kernels.config.clone(),
                system_map: kernels.system_map.clone(),
            }),
            KernelChoice::Listed(_) => None,
        })
        .collect();
    for (argument, path) in [
        ("--modules", &kernels.modules),
        ("--config", &kernels.config),
        ("--system-map", &kernels.system_map),
    ] {
        if path.is_some() && images.len() != 1 {
            let number = images.len();
            let message =
                format!("{argument} belongs to one kernel given by its path, and there are {number}");
            return Err(Failure::Usage { message, hint: None });
        }
    }
    // Before anything is made or fetched.
    for image in &images {
        if !image.image.is_file() {
            return Err(no_such("kernel", &image.image, "file"));
        }
        if let Some(modules) = image.modules.as_ref().filter(|modules| !modules.is_dir()) {
            return Err(no_such("modules", modules, "folder"));
        }
        if let Some(config) = &image.config {
            KernelConfig::read(config).map_err(unreadable("config", config))?;
        }
        if let Some(map) = &image.system_map {
            read_symbols(map).map_err(unreadable("system-map", map))?;
        }
    }
    let mut cells = plan(&scenarios, &listed, &Selection { selectors, kernels: choices })?;
    for cell in &mut cells {
        cell.repeat = repeat(cell, &files, &images);
    }
    Ok(Planned { kernels: listed, images, cells })
}

/// The arguments that carry out one cell alone: files that the lab does not know by name are named again.
fn repeat(cell: &PlannedCell, files: &[String], images: &[ImageChoice]) -> Vec<String> {
    let is_source =
        |file: &&String| Path::new(file).file_stem().is_some_and(|stem| *stem == *cell.scenario.scenario);
    let file = files.iter().find(is_source);
    let image = images.iter().find(|image| image.label == cell.kernel);
    let mut arguments = vec!["run".to_owned(), file.unwrap_or(&cell.key).clone()];
    match image {
        Some(ImageChoice { image, modules, config, system_map, .. }) => {
            let paths = [
                ("--kernel", Some(image)),
                ("--modules", modules.as_ref()),
                ("--config", config.as_ref()),
                ("--system-map", system_map.as_ref()),
            ];
            for (argument, path) in paths {
                arguments
                    .extend(path.into_iter().flat_map(|p| [argument.to_owned(), p.display().to_string()]));
            }
        }
        None if file.is_some() => arguments.extend(["--kernel".to_owned(), cell.kernel.clone()]),
        None => {}
    }
    arguments
}

fn unreadable(argument: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Usage { message: format!("--{argument} {}: {error}", path.display()), hint: None }
}

fn no_such(argument: &str, path: &Path, what: &str) -> Failure {
    Failure::Usage {
        message: format!("--{argument} {}: there is no such {what}", path.display()),
        hint: None,
    }
}

/// Without the paths that lead to a file that is there already: one given by hand may lie in the lab.
fn each_once(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut known = BTreeSet::new();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    paths.into_iter().filter(|path| known.insert(real(path))).collect()
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".yaml")
}
