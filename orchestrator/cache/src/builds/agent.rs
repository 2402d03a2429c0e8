//! The agent, built for aarch64 as a static program from the source in s2lab.

use crate::{
    Agent, Cache,
    builds::{
        cargo::{Build, Inputs},
        rustc::Rustc,
        toolchain::Plan,
    },
    carried,
    error::{CacheError, Result},
};
use s2lab_os::{
    child::run::{RunError, find_on_path},
    outside::{self, kinds},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const PACKAGE: &str = "s2lab-agent";
/// Its profile.
const PROFILE: &str = "agent";
pub(crate) const GNU: &str = "aarch64-unknown-linux-gnu";
const MUSL: &str = "aarch64-unknown-linux-musl";
/// The compiler of programs for aarch64.
pub(crate) enum Compiler {
    /// The machine's own: the target whose standard library it has, and its flags.
    Machine { target: &'static str, flags: Vec<String>, version: String },
    /// The one in the cache.
    Debian(Plan),
}

impl Compiler {
    /// Returns the flags of a static program at a fixed address, and `more`.
    pub(crate) fn flags(more: &[String]) -> Vec<String> {
        let common = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"].map(str::to_owned);
        common.into_iter().chain(more.iter().cloned()).collect()
    }
}

impl Cache {
    pub(crate) fn agent_blocking(&self) -> Result<Agent> {
        let compiler = self.compiler()?;
        let (target, version, flags) = match &compiler {
            Compiler::Machine { target, flags, version } => (*target, version.as_str(), flags.clone()),
            Compiler::Debian(plan) => (GNU, plan.digest.as_str(), Vec::new()),
        };
        let inputs = Inputs::of(carried::AGENT, target, version, &flags);
        let object = self.objects.get("agent", target, &inputs, |building| {
            let built = self.build(&compiler)?;
            let path = building.dir.join(PACKAGE);
            outside::copy(&built, &path, kinds::PROGRAM)?;
            Ok(())
        })?;
        Ok(Agent { program: object.path.join(PACKAGE), sha256: object.sha256(PACKAGE)?.to_owned() })
    }

    /// Returns the machine's compiler if it has a standard library for aarch64 and a linker.
    pub(crate) fn compiler(&self) -> Result<Compiler> {
        let Rustc { sysroot, version } = match self.rustc() {
            Ok(rustc) => rustc,
            Err(RunError::NoProgram { .. } | RunError::Failed { .. }) => {
                return Ok(Compiler::Debian(self.toolchain_plan()?));
            }
            Err(other) => return Err(other.into()),
        };
        if has_std(&sysroot, MUSL) {
            // This target brings its own start files and libc; rustc's own linker is enough.
            let own = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", "-Clink-self-contained=yes"]
                .map(str::to_owned);
            return Ok(Compiler::Machine { target: MUSL, flags: Compiler::flags(&own), version });
        }
        let linker = if cfg!(target_arch = "aarch64") { "cc" } else { "aarch64-linux-gnu-gcc" };
        if has_std(&sysroot, GNU) && find_on_path(linker).is_some() {
            let flags = Compiler::flags(&[format!("-Clinker={linker}")]);
            return Ok(Compiler::Machine { target: GNU, flags, version });
        }
        Ok(Compiler::Debian(self.toolchain_plan()?))
    }

    /// Runs cargo. The result is in a target folder of ours, which makes the next build fast.
    fn build(&self, compiler: &Compiler) -> Result<PathBuf> {
        // This check comes before a toolchain is downloaded.
        if find_on_path("cargo").is_none() {
            return Err(CacheError::NoProgram {
                program: "cargo".to_owned(),
                purpose: "build the agent".to_owned(),
            });
        }
        let (target, flags, rustc) = match compiler {
            Compiler::Machine { target, flags, .. } => (*target, flags.clone(), None),
            Compiler::Debian(plan) => {
                let toolchain = self.toolchain(plan)?;
                let linker = toolchain.linker.to_str().ok_or_else(|| CacheError::BadName {
                    what: "cache folder that rustc accepts",
                    name: toolchain.linker.display().to_string(),
                })?;
                let flags = Compiler::flags(&["-Clinker-flavor=ld".to_owned(), format!("-Clinker={linker}")]);
                (GNU, flags, Some(toolchain.rustc))
            }
        };
        self.cargo(&Build {
            what: "the agent",
            files: carried::AGENT,
            arguments: &["build", "--profile", PROFILE, "--package", PACKAGE],
            target,
            flags: &flags,
            rustc,
        })
        .map(|built| built.join(PROFILE).join(PACKAGE))
    }
}

fn has_std(sysroot: &Path, target: &str) -> bool {
    let dir = sysroot.join("lib/rustlib").join(target).join("lib");
    fs::read_dir(dir).into_iter().flatten().flatten().any(|f| {
        let name = f.file_name();
        name.to_str().is_some_and(|n| n.starts_with("libstd-") && n.ends_with(".rlib"))
    })
}
