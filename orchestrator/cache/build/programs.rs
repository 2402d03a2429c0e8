//! The source of the programs that s2lab builds on the user's machine: their crates, with a workspace
//! and a lock file for them alone, so that a change elsewhere in the checkout does not change them.

use crate::files::{self, File};
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// A program that is built on the user's machine.
pub(crate) struct Program {
    /// Its crates by their folders.
    crates: [&'static str; 2],
    /// The profile that it is built with.
    profile: &'static str,
}

pub(crate) const AGENT: Program =
    Program { crates: ["guest-agent", "guest-agent/protocol"], profile: "agent" };
pub(crate) const PLUGIN: Program =
    Program { crates: ["orchestrator/plugin", "orchestrator/plugin/trace"], profile: "plugin" };
pub(crate) const JUDGE: Program =
    Program { crates: ["guest-agent/judge", "guest-agent/judge/records"], profile: "judge" };

/// The parts of a manifest that only tests need. cargo asks the registry for all dependencies, and
/// for the files of all named targets.
const FOR_TESTS: [&str; 4] = ["dev-dependencies", "test", "bench", "example"];

/// Returns the files. Manifests and lock file are written below `out`.
pub(crate) fn source(program: &Program, checkout: &Path, out: &Path) -> Result<Vec<File>, Box<dyn Error>> {
    let out = out.join(program.profile);
    fs::create_dir_all(&out)?;
    let mut found = vec![];
    let mut make = |path: &str, table: &Table| -> Result<(), Box<dyn Error>> {
        let from: PathBuf = out.join(path.replace('/', "-"));
        fs::write(&from, toml::to_string(table)?)?;
        found.push(File { path: path.to_owned(), from });
        Ok(())
    };
    let mut crates = vec![];
    for folder in program.crates {
        let path = format!("{folder}/Cargo.toml");
        let mut manifest = read(checkout, &path)?;
        let tests: BTreeSet<_> = names(&manifest, "dev-dependencies");
        FOR_TESTS.iter().for_each(|part| drop(manifest.remove(*part)));
        make(&path, &manifest)?;
        let needs = names(&manifest, "dependencies");
        let package = manifest.get("package").and_then(|package| package.get("name")?.as_str());
        let package = package.ok_or_else(|| format!("{path}: no name"))?.to_owned();
        crates.push(Crate { package, only_tests: tests.difference(&needs).cloned().collect(), needs });
    }
    make("Cargo.toml", &workspace(program, read(checkout, "Cargo.toml")?, &crates)?)?;
    make("Cargo.lock", &lock(read(checkout, "Cargo.lock")?, &crates)?)?;
    for folder in program.crates {
        files::below(checkout, &format!("{folder}/src"), &mut found)?;
    }
    Ok(found)
}

struct Crate {
    package: String,
    needs: BTreeSet<String>,
    /// The dependencies that only its tests need.
    only_tests: BTreeSet<String>,
}

fn read(checkout: &Path, path: &str) -> Result<Table, Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}/{path}", files::CHECKOUT);
    Ok(fs::read_to_string(checkout.join(path))?.parse()?)
}

fn names(manifest: &Table, part: &str) -> BTreeSet<String> {
    let table = manifest.get(part).and_then(Value::as_table);
    table.into_iter().flat_map(Table::keys).cloned().collect()
}

/// Returns the workspace with these crates alone.
fn workspace(program: &Program, mut manifest: Table, crates: &[Crate]) -> Result<Table, Box<dyn Error>> {
    let part = |manifest: &mut Table, name: &str| match manifest.remove(name) {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(format!("Cargo.toml: no {name}")),
    };
    let mut workspace = part(&mut manifest, "workspace")?;
    let mut profiles = part(&mut manifest, "profile")?;
    workspace.insert("members".into(), program.crates.to_vec().into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
        dependencies.retain(|name, _| crates.iter().any(|one| one.needs.contains(name)));
    }
    profiles.retain(|name, _| name == program.profile);
    Ok(Table::from_iter([("workspace".into(), workspace.into()), ("profile".into(), profiles.into())]))
}

/// Returns the lock file with the dependencies of these crates alone.
fn lock(mut lock: Table, crates: &[Crate]) -> Result<Table, Box<dyn Error>> {
    let Some(Value::Array(packages)) = lock.remove("package") else {
        return Err("Cargo.lock: no packages".into());
    };
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut packages: Vec<Value> = packages;
    for package in &mut packages {
        let of = crates.iter().find(|one| text(package, "name").as_ref() == Some(&one.package));
        if let (Some(of), Some(Value::Array(leads))) = (of, package.get_mut("dependencies")) {
            leads.retain(|to| !to.as_str().is_some_and(|to| of.only_tests.contains(name(to))));
        }
    }
    let mut queue: Vec<String> = crates.iter().map(|one| one.package.clone()).collect();
    let mut kept = BTreeSet::new();
    while let Some(wanted) = queue.pop() {
        // `name`, or `name version` if there are several (cargo 1.95,
        // src/cargo/core/resolver/encode.rs).
        let mut words = wanted.split(' ');
        let (name, version) = (words.next(), words.next());
        for (at, package) in packages.iter().enumerate() {
            let fits = text(package, "name").as_deref() == name
                && version.is_none_or(|version| text(package, "version").as_deref() == Some(version));
            if fits && kept.insert(at) {
                let leads = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
                queue.extend(leads.filter_map(|to| to.as_str().map(str::to_owned)));
            }
        }
    }
    let kept: Vec<Value> = kept.into_iter().filter_map(|at| packages.get(at).cloned()).collect();
    lock.insert("package".into(), kept.into());
    Ok(lock)
}

/// Returns the package's name in a dependency of a lock file.
fn name(dependency: &str) -> &str {
    dependency.split(' ').next().unwrap_or_default()
}
