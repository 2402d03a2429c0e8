//! The tools that build kernels, and programs out of a kernel's tree: the machine's programs if it has them, else
//! Debian's.

use crate::{
    Cache,
    builds::toolchain::script,
    debian::{
        apt::{self, Deb, Question, Scope, Session},
        deb,
    },
    error::{CacheError, Result},
    objects::{digest, object::Building},
};
use s2lab_os::child::{
    self,
    run::{self, RunError, find_on_path},
};
use serde::Serialize;
use std::{ffi::OsString, fs, path::PathBuf, process::Command};

/// The suites of the tools: the release whose programs run with the oldest glibc that we support.
pub(super) const SUITES: [&str; 2] = ["bookworm", "bookworm-security"];
/// The prefix of a cross compiler's programs.
const CROSS: &str = "aarch64-linux-gnu-";
/// The oldest gcc that builds every kernel to date (Linux 6.16 scripts/min-tool-version.sh).
const OLDEST_GCC: (u32, u32) = (8, 1);

/// Programs that come together.
struct Group {
    /// The programs that a build calls. If the machine lacks one, all come from the cache.
    programs: &'static [&'static str],
    packages: &'static [&'static str],
    /// The other names of some programs in the packages.
    renamed: &'static [(&'static str, &'static str)],
    /// True if they need libraries that come with them. In the environment of `make` these would
    /// reach the machine's programs.
    libraries: bool,
}

/// The purpose of tools.
struct Purpose {
    /// The name in progress and errors.
    what: &'static str,
    /// The name of the object.
    name: &'static str,
    /// The purpose of the compiler, for an error.
    builds: &'static str,
    /// The compiler for arm64 and what it needs, on other machines.
    compiler: &'static [&'static Group],
    /// The compiler must have a static C library.
    links: bool,
}

const KERNELS: Purpose = Purpose {
    what: "the tools that build kernels",
    name: "kernel",
    builds: "build kernels for arm64",
    compiler: &[&COMPILER],
    links: false,
};
const PROGRAMS: Purpose = Purpose {
    what: "the tools that build programs for arm64",
    name: "programs",
    builds: "build programs for arm64",
    compiler: &[&COMPILER, &C_LIBRARY],
    links: true,
};

/// The static C library that a compiler must find to link programs.
const LIBC: &str = "libc.a";

/// The compiler and its binutils. It needs no libraries of its own: kernels use none.
const COMPILER: Group = Group {
    programs: &[
        "aarch64-linux-gnu-gcc",
        "aarch64-linux-gnu-ld",
        "aarch64-linux-gnu-as",
        "aarch64-linux-gnu-ar",
        "aarch64-linux-gnu-nm",
        "aarch64-linux-gnu-objcopy",
        "aarch64-linux-gnu-objdump",
        "aarch64-linux-gnu-ranlib",
        "aarch64-linux-gnu-readelf",
        "aarch64-linux-gnu-strip",
    ],
    packages: &[
        "gcc-12-aarch64-linux-gnu",
        "cpp-12-aarch64-linux-gnu",
        "libgcc-12-dev-arm64-cross",
        "binutils-aarch64-linux-gnu",
        "libbinutils",
        "libgmp10",
        "libisl23",
        "libjansson4",
        "libmpc3",
        "libmpfr6",
        "libzstd1",
        "zlib1g",
    ],
    renamed: &[("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc-12")],
    libraries: true,
};
/// The C library of programs.
const C_LIBRARY: Group =
    Group { programs: &[], packages: &["libc6-dev-arm64-cross"], renamed: &[], libraries: false };
const OTHERS: [Group; 3] = [
    Group {
        programs: &["flex", "bison"],
        packages: &["flex", "bison", "m4"],
        renamed: &[],
        libraries: false,
    },
    Group {
        programs: &["bc"],
        packages: &["bc", "libreadline8", "libtinfo6"],
        renamed: &[],
        libraries: true,
    },
    Group { programs: &["make"], packages: &["make"], renamed: &[], libraries: false },
];
/// The programs that a build needs on the machine itself: its own compiler, for programs that run
/// during the build.
const OF_THE_MACHINE: [&str; 2] = ["gcc", "sh"];

/// The source of the tools, which is known before they are fetched.
pub(crate) struct Plan {
    purpose: &'static Purpose,
    scope: Scope,
    groups: Vec<&'static Group>,
    debs: Vec<Deb>,
    cross: &'static str,
    /// The digest of the tools that decide a kernel's bytes: the compiler and its binutils.
    pub(crate) digest: String,
}

/// Tools that are ready to be used.
pub(crate) struct KernelTools {
    /// PATH for `make`.
    pub(crate) path: OsString,
    /// The value of `CROSS_COMPILE`.
    pub(crate) cross: &'static str,
    pub(crate) ccache: bool,
    digest: String,
}

#[derive(Serialize)]
struct Inputs<'a> {
    debs: &'a [Deb],
    scripts: Vec<(&'a str, String)>,
}

impl Cache {
    /// Checks that the machine has the programs of its own that a kernel's build needs. The rest
    /// comes from the archive.
    pub fn can_build(&self) -> Result<()> {
        match OF_THE_MACHINE.into_iter().find(|program| find_on_path(program).is_none()) {
            Some(program) => Err(CacheError::NoProgram {
                program: program.to_owned(),
                purpose: "build programs that a kernel's build runs".to_owned(),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn kernel_tools_plan(&self) -> Result<Plan> {
        self.tools_plan(&KERNELS)
    }

    /// Returns the plan of the tools that build programs with a C library.
    pub(crate) fn program_tools_plan(&self) -> Result<Plan> {
        self.tools_plan(&PROGRAMS)
    }

    fn tools_plan(&self, purpose: &'static Purpose) -> Result<Plan> {
        let mut groups: Vec<&Group> =
            OTHERS.iter().filter(|g| g.programs.iter().any(|p| find_on_path(p).is_none())).collect();
        let cross = if cfg!(target_arch = "aarch64") { "" } else { CROSS };
        let own = self.machine_compiler(cross, purpose.links)?;
        if own.is_none() {
            if apt::machine_architecture() != "amd64" {
                let (program, purpose) = (format!("{cross}gcc"), purpose.builds.to_owned());
                return Err(CacheError::NoProgram { program, purpose });
            }
            groups.splice(..0, purpose.compiler.iter().copied());
        }
        let names: Vec<String> =
            groups.iter().flat_map(|g| g.packages).map(|name| (*name).to_owned()).collect();
        let scope = Scope::new(&SUITES, &[apt::machine_architecture()])?;
        let debs = match names.is_empty() {
            true => Vec::new(),
            false => {
                let packages: Vec<&str> = names.iter().map(String::as_str).collect();
                let question = Question { what: purpose.what, packages: &packages, without: &[] };
                self.apt.resolve(question, &scope, |apt: &Session<'_>| apt.newest(&names))?
            }
        };
        let digest = match own {
            Some(version) => digest::bytes(version.as_bytes()),
            None => {
                let is_compiler = |deb: &&Deb| {
                    purpose.compiler.iter().any(|group| group.packages.contains(&deb.name.as_str()))
                };
                digest::inputs(&debs.iter().filter(is_compiler).collect::<Vec<_>>())?
            }
        };
        Ok(Plan { purpose, scope, groups, debs, cross, digest })
    }

    /// Returns the versions of the machine's compiler and linker, if it has both and they are new
    /// enough. `links`: the compiler must find a static C library.
    fn machine_compiler(&self, cross: &str, links: bool) -> Result<Option<String>> {
        let ask = |program: &str, argument: &str| {
            let mut command = child::command(format!("{cross}{program}"), child::PLAIN);
            command.arg(argument);
            match run::ask(command, "print its version", &|| self.progress.cancelled()) {
                Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
                Err(RunError::NoProgram { .. } | RunError::Failed { .. }) => Ok(None),
                Err(other) => Err(CacheError::from(other)),
            }
        };
        let (Some(gcc), Some(number)) = (ask("gcc", "--version")?, ask("gcc", "-dumpfullversion")?) else {
            return Ok(None);
        };
        let Some(ld) = ask("ld", "--version")? else { return Ok(None) };
        // gcc prints the name alone of a file that it does not find.
        if links && ask("gcc", &format!("-print-file-name={LIBC}"))?.is_none_or(|path| path.trim() == LIBC) {
            return Ok(None);
        }
        Ok(new_enough(&number).then(|| format!("{gcc}\n{ld}")))
    }

    pub(crate) fn kernel_tools(&self, plan: &Plan) -> Result<KernelTools> {
        self.can_build()?;
        let machine = std::env::var_os("PATH").unwrap_or_default();
        let ccache = find_on_path("ccache").is_some();
        let tools = |path| KernelTools { path, cross: plan.cross, ccache, digest: plan.digest.clone() };
        if plan.debs.is_empty() {
            return Ok(tools(machine));
        }
        let programs = || plan.groups.iter().flat_map(|g| g.programs.iter().map(|p| (*g, *p)));
        let scripts = programs().map(|(group, program)| (program, group.wrapper(program))).collect();
        let inputs = Inputs { debs: &plan.debs, scripts };
        let Purpose { what, name, links, .. } = *plan.purpose;
        let object = self.objects.get("toolchain", name, &inputs, |building| {
            make(building, &plan.debs, &self.apt.fetch(what, &plan.scope, &plan.debs)?, programs(), links)
        })?;
        let first = object.path.join(TOOLS);
        let all = std::iter::once(first.clone()).chain(std::env::split_paths(&machine));
        let path = std::env::join_paths(all).map_err(|_| CacheError::BadName {
            what: "cache folder that PATH can hold",
            name: first.display().to_string(),
        })?;
        Ok(tools(path))
    }
}

impl KernelTools {
    /// Returns the programs on PATH, whatever they are.
    #[cfg(test)]
    pub(crate) fn of_the_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self { path, cross: "", ccache: false, digest: String::new() }
    }

    /// Returns `make`, with these tools before the machine's.
    pub(crate) fn make(&self) -> Command {
        let mut command = child::command("make", child::MAKE);
        command.env("PATH", &self.path).arg(format!("CROSS_COMPILE={}", self.cross));
        if self.ccache {
            // ccache cannot distinguish wrappers.
            command.env("CCACHE_COMPILERCHECK", format!("string:{}", self.digest));
            command.arg(format!("CC=ccache {}gcc", self.cross)).arg("HOSTCC=ccache gcc");
        }
        command
    }
}

/// The folder in an object.
const TOOLS: &str = "tools";

impl Group {
    /// Returns the file in the packages.
    fn file(&self, program: &str) -> String {
        let renamed = self.renamed.iter().find(|(name, _)| *name == program);
        format!("usr/bin/{}", renamed.map_or(program, |(_, there)| there))
    }

    /// Returns a script that finds the parts of the program beside itself.
    fn wrapper(&self, program: &str) -> String {
        let libraries = format!("LD_LIBRARY_PATH=\"$root/usr/lib/{}-linux-gnu\" ", std::env::consts::ARCH);
        let libraries = if self.libraries { libraries.as_str() } else { "" };
        let file = self.file(program);
        // bison and flex get the places of their parts (their manuals, "Environment Variables").
        format!(
            "#!/bin/sh\nroot=${{0%/*}}/..\nexport BISON_PKGDATADIR=\"$root/usr/share/bison\" M4=\"$root/usr/bin/m4\"\n\
             {libraries}exec \"$root/{file}\" \"$@\"\n"
        )
    }
}

fn make<'a>(
    building: &mut Building,
    debs: &[Deb],
    files: &[PathBuf],
    programs: impl Iterator<Item = (&'a Group, &'a str)>,
    links: bool,
) -> Result<()> {
    let root = building.dir.clone();
    for file in files {
        deb::unpack(file, &root, |path| {
            let useless =
                ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"];
            // No build uses these compilers, and kernels are not linked with archives.
            let large = ["/lto1", "/lto-dump", "/lto-wrapper"];
            path.starts_with("usr/")
                && (links || !path.ends_with(".a"))
                && !useless.iter().any(|u| path.starts_with(u))
                && !large.iter().any(|l| path.ends_with(l))
        })?;
    }
    for (group, program) in programs {
        let file = root.join(group.file(program));
        fs::metadata(&file).map_err(CacheError::io("no package has", file))?;
        script(&root, program, &group.wrapper(program))?;
    }
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

/// Compares a version such as `12.2.0`.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.trim().split('.').map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) >= OLDEST_GCC,
        _ => false,
    }
}
