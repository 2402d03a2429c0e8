//! A Rust toolchain for aarch64 from Debian, for machines whose own has no standard library for it.
//!
//! Debian's `rustc-web` is the one compiler in bookworm new enough. Linking takes binutils and the
//! start files of glibc and gcc, without gcc itself: 30 MB less to download.

use crate::{
    Cache,
    debian::{
        apt::{self, Deb, Question, Scope, Session},
        deb, suites,
    },
    error::{CacheError, Result},
    objects::{digest, object::Building},
    parts::elf,
};
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const WHAT: &str = "the Rust toolchain for aarch64";
/// The packages that are taken with all their dependencies.
const CLOSURES: [&str; 2] = ["rustc-web", "binutils-aarch64-linux-gnu"];
/// The packages that are taken alone.
const SINGLE: [&str; 3] = ["libstd-rust-web-dev:arm64", "libc6-dev-arm64-cross", "libgcc-12-dev-arm64-cross"];
/// A package that only depends on the native ones, and is not needed here.
const BINUTILS: &str = "binutils";
const PROGRAMS: [&str; 2] = ["usr/bin/rustc", "usr/bin/aarch64-linux-gnu-ld.bfd"];
/// The folders that are unpacked as they are, besides the programs and their libraries.
const TREES: [&str; 3] =
    ["usr/lib/rustlib/", "usr/aarch64-linux-gnu/lib/", "usr/lib/gcc-cross/aarch64-linux-gnu/12/"];
/// The parts of [`TREES`] that no static program is linked with.
const USELESS: [&str; 4] = [".so", "san.a", "libgomp", "libitm"];
/// Dependencies of `rustc-web` that only a native build of C would use. A name that is missing here
/// causes a download; a wrong one ends in [`CacheError::NoLibrary`].
const UNUSED: [&str; 33] = [
    "binutils-x86-64",
    "cpp",
    "debconf",
    "g++",
    "gcc",
    "libasan",
    "libatomic",
    "libc-",
    "libc6",
    "libcc1",
    "libcom-err",
    "libcrypt",
    "libgcc-12-dev",
    "libgmp",
    "libgomp",
    "libgprofng",
    "libgssapi",
    "libhwasan",
    "libisl",
    "libitm",
    "libk5crypto",
    "libkeyutils",
    "libkrb5",
    "liblsan",
    "libmpc",
    "libmpfr",
    "libnsl",
    "libquadmath",
    "libssl",
    "libtirpc",
    "libtsan",
    "libubsan",
    "linux-libc-dev",
];
/// The machine's loader and glibc run the compiler, because it loads procedural macros that were
/// linked with that glibc. Everything else comes from the cache, and without LD_LIBRARY_PATH, which
/// would reach the machine's own `cc`.
const RUSTC: &str = r#"#!/bin/sh
root=${0%/*}/..
exec /lib64/ld-linux-x86-64.so.2 --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
"#;
/// The arguments that gcc passes to the linker for a static program that is not
/// position-independent (`gcc -static -###`, gcc 12).
const LD: &str = r#"#!/bin/sh
root=${0%/*}/..
gcc=$root/usr/lib/gcc-cross/aarch64-linux-gnu/12
libc=$root/usr/aarch64-linux-gnu/lib
exec /lib64/ld-linux-x86-64.so.2 --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/aarch64-linux-gnu-ld.bfd" \
    -static "$libc/crt1.o" "$libc/crti.o" "$gcc/crtbeginT.o" "-L$gcc" "-L$libc" "$@" \
    --start-group -lgcc -lgcc_eh -lc --end-group "$gcc/crtend.o" "$libc/crtn.o"
"#;

/// The source of the toolchain, which is known before it is fetched.
pub(crate) struct Plan {
    scope: Scope,
    debs: Vec<Deb>,
    /// The digest of all its inputs.
    pub(crate) digest: String,
}

/// A toolchain that is ready to be used.
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    /// The linker, which takes the arguments of `ld`.
    pub(crate) linker: PathBuf,
}

#[derive(Serialize)]
struct Inputs<'a> {
    debs: &'a [Deb],
    rustc: &'a str,
    ld: &'a str,
}

impl Cache {
    pub(crate) fn toolchain_plan(&self) -> Result<Plan> {
        // On arm64 the machine's own Rust builds for arm64; other machines' Debian packages have
        // not been tried.
        if apt::machine_architecture() != "amd64" {
            let purpose = format!(
                "build the agent (with a standard library for aarch64, on {})",
                std::env::consts::ARCH
            );
            return Err(CacheError::NoProgram { program: "rustc".to_owned(), purpose });
        }
        let scope = Scope::new(&["bookworm", "bookworm-security"], &[apt::machine_architecture(), "arm64"])?;
        let packages = [&CLOSURES[..], &SINGLE].concat();
        let without = [&UNUSED[..], &[BINUTILS]].concat();
        let question = Question { what: WHAT, packages: &packages, without: &without };
        let debs = self.apt.resolve(question, &scope, find)?;
        let digest = digest::inputs(&Inputs { debs: &debs, rustc: RUSTC, ld: LD })?;
        Ok(Plan { scope, debs, digest })
    }

    pub(crate) fn toolchain(&self, plan: &Plan) -> Result<Toolchain> {
        let inputs = Inputs { debs: &plan.debs, rustc: RUSTC, ld: LD };
        let object = self.objects.get("toolchain", "rust-aarch64", &inputs, |building| {
            make(building, &plan.debs, &self.apt.fetch(WHAT, &plan.scope, &plan.debs)?)
        })?;
        Ok(Toolchain { rustc: object.path.join("tools/rustc"), linker: object.path.join("tools/ld") })
    }
}

fn find(apt: &Session<'_>) -> Result<Vec<Deb>> {
    let mut debs = apt.closure(&CLOSURES.map(str::to_owned))?;
    debs.retain(|d| d.name != BINUTILS && !UNUSED.iter().any(|u| d.name.starts_with(u)));
    debs.extend(apt.newest(&SINGLE.map(str::to_owned))?);
    // The compiler reads libraries of exactly its own version.
    let versions =
        |name: &str| debs.iter().filter(|d| d.name == name).map(|d| d.version.clone()).collect::<Vec<_>>();
    let (rustc, std) = (versions("rustc-web"), versions("libstd-rust-web-dev"));
    if std.len() == 2 && std.iter().all(|v| rustc.contains(v)) {
        return Ok(debs);
    }
    Err(CacheError::NoPackage {
        package: "libstd-rust-web-dev:arm64".to_owned(),
        suites: suites::ALL.join(", "),
        reason: format!("the archive is between two versions: rustc-web {rustc:?}, its libraries {std:?}"),
    })
}

fn make(building: &mut Building, debs: &[Deb], files: &[PathBuf]) -> Result<()> {
    let root = building.dir.clone();
    for file in files {
        deb::unpack(file, &root, |path| {
            let tree = TREES.iter().any(|t| path.starts_with(t)) && !path.ends_with(".json");
            let useless = path.starts_with("usr/aarch64") || path.starts_with("usr/lib/gcc-cross");
            PROGRAMS.contains(&path)
                || tree && !(useless && USELESS.iter().any(|u| path.contains(u)))
                || path.starts_with("usr/lib/x86_64-linux-gnu/") && path.contains(".so")
        })?;
    }
    // A missing library fails here, not in the middle of a build. glibc's and gcc's are the
    // machine's.
    let machine = |library: &str| elf::is_of_glibc(library) || library.starts_with("libgcc_s.so");
    elf::closure(&root, &PROGRAMS, &["usr/lib/x86_64-linux-gnu"], machine)?;
    script(&root, "rustc", RUSTC)?;
    script(&root, "ld", LD)?;
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

pub(crate) fn script(root: &Path, name: &str, text: &str) -> Result<()> {
    let dir = root.join("tools");
    s2lab_os::private::make(&dir).map_err(CacheError::io("cannot create", &dir))?;
    let path = dir.join(name);
    fs::write(&path, text).map_err(CacheError::io("cannot write", &path))?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, mode).map_err(CacheError::io("cannot make executable", &path))?;
    Ok(())
}
