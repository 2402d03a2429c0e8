//! The judge, a program without an operating system, built for aarch64 from the source in s2lab. It
//! is for tests; see `docs/judge.md`.

use crate::{
    Cache,
    builds::{
        agent::{Compiler, GNU},
        build,
        cargo::{Build, Inputs},
        toolchain::script,
    },
    carried,
    error::{CacheError, Result},
};
use s2lab_os::outside::{self, kinds};
use std::path::PathBuf;

const PACKAGE: &str = "s2lab-judge";
const PROFILE: &str = "judge";
/// From the folder of its source, in which cargo runs.
const LINK: &str = "-Clink-arg=-Tguest-agent/judge/src/judge.ld";
/// The linker of the toolchain in the cache without the files and libraries of a C program, which
/// the agent needs.
const LD: &str = r#"#!/bin/sh
exec /lib64/ld-linux-x86-64.so.2 --library-path "ROOT/usr/lib/x86_64-linux-gnu" "ROOT/usr/bin/aarch64-linux-gnu-ld.bfd" "$@"
"#;

impl Cache {
    /// Returns the judge, an ELF program for QEMU's `virt`. Blocks.
    pub fn judge(&self) -> Result<PathBuf> {
        let compiler = self.compiler()?;
        let (target, version, mut flags) = match &compiler {
            Compiler::Machine { target, flags, version } => (*target, version.as_str(), flags.clone()),
            Compiler::Debian(plan) => (GNU, plan.digest.as_str(), Compiler::flags(&[])),
        };
        if flags.iter().any(|flag| flag.contains("gcc") || flag.ends_with("=cc")) {
            flags.push("-Clink-arg=-nostdlib".to_owned());
        }
        // musl's target would add the files with which a C program starts.
        for flag in flags.iter_mut().filter(|flag| flag.starts_with("-Clink-self-contained")) {
            *flag = "-Clink-self-contained=no".to_owned();
        }
        flags.push(LINK.to_owned());
        let inputs = Inputs::of(carried::JUDGE, target, version, &flags);
        let object = self.objects.get("judge", target, &inputs, |building| {
            let mut flags = flags.clone();
            let mut rustc = None;
            if let Compiler::Debian(plan) = &compiler {
                let toolchain = self.toolchain(plan)?;
                let root = toolchain.rustc.parent().and_then(|tools| tools.parent());
                let root = root.and_then(|root| root.to_str()).ok_or_else(|| CacheError::BadName {
                    what: "cache folder that rustc accepts",
                    name: toolchain.rustc.display().to_string(),
                })?;
                let tools = build::folder(&self.objects).join(PROFILE);
                script(&tools, "ld", &LD.replace("ROOT", root))?;
                flags.push("-Clinker-flavor=ld".to_owned());
                flags.push(format!("-Clinker={}", tools.join("tools/ld").display()));
                rustc = Some(toolchain.rustc);
            }
            let built = self.cargo(&Build {
                what: "the judge",
                files: carried::JUDGE,
                arguments: &["build", "--profile", PROFILE, "--package", PACKAGE, "--features", "bare"],
                target,
                flags: &flags,
                rustc,
            })?;
            outside::copy(&built.join(PROFILE).join(PACKAGE), &building.dir.join(PACKAGE), kinds::PROGRAM)?;
            Ok(())
        })?;
        Ok(object.path.join(PACKAGE))
    }
}
