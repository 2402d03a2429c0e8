//! The programs that s2lab starts. A list decides which variables of the user's environment each of
//! them gets: a build must depend on its key alone, and an emulator needs no tokens.

pub mod orphans;
pub mod process;
pub mod run;

use rustix::{
    io::Errno,
    process::{Signal, getpid, getppid, set_parent_process_death_signal},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::Command,
};

/// The variables of the user's environment that a kind of program gets, besides [`ALL`].
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    names: &'static [&'static [&'static str]],
    prefixes: &'static [&'static str],
}

/// The variables of every program: the places of programs, of its own files and of temporary ones.
const ALL: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// A program that needs nothing else.
pub const PLAIN: Kept = Kept { names: &[], prefixes: &[] };

/// apt: the way to the archive, and the administrator's configuration.
pub const APT: Kept = Kept { names: &[&NETWORK, &["APT_CONFIG"]], prefixes: &[] };

/// pip: the way to the registry, and the user's configuration.
pub const PIP: Kept = Kept { names: &[&NETWORK], prefixes: &["PIP_"] };

/// cargo and rustc: the places of their files, the way to the registry, the toolchain. Other
/// variables that begin with CARGO or RUST belong to a build that may be running s2lab.
pub const CARGO: Kept = Kept {
    names: &[&NETWORK, &["CARGO_HOME"]],
    prefixes: &["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "RUSTUP_"],
};

/// make of a kernel: the place of ccache's files. Other variables of make, kbuild, kconfig, gcc and
/// ccache would change the result.
pub const MAKE: Kept = Kept { names: &[&["CCACHE_DIR"]], prefixes: &[] };

/// QEMU, and scripts that start it: the places of an emulator's own libraries.
pub const QEMU: Kept = Kept { names: &[&["LD_LIBRARY_PATH"]], prefixes: &[] };

/// The variables for access to the network (curl(1), "ENVIRONMENT"; OpenSSL's
/// `SSL_CTX_load_verify_locations(3)`).
const NETWORK: [&str; 11] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "ftp_proxy",
    "FTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Returns a command with the listed variables of the user's environment, and English messages.
pub fn command(program: impl AsRef<OsStr>, kept: Kept) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env::vars_os().filter(|(name, _)| kept.has(name))).env("LC_ALL", "C");
    command
}

/// Makes `command` lead a process group, and die with the thread that starts it.
pub fn tie(command: &mut Command) {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated on the
    // good path.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have ended before the call above took effect.
            if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
        });
    }
}

impl Kept {
    fn has(self, name: &OsString) -> bool {
        let Some(name) = name.to_str() else { return false };
        ALL.contains(&name)
            || self.names.iter().any(|names| names.contains(&name))
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kept: Kept) -> Vec<String> {
        let command = command("x", kept);
        let mut names: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| value.and(name.to_str().map(str::to_owned)))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_program_gets_what_is_listed() {
        for (name, by) in [
            ("PATH", "apcmqi"),
            ("HOME", "acmqpi"),
            ("http_proxy", "aci"),
            ("HTTPS_PROXY", "aci"),
            ("SSL_CERT_FILE", "aci"),
            ("PIP_CERT", "i"),
            ("PYTHONPATH", ""),
            ("APT_CONFIG", "a"),
            ("CARGO_HOME", "c"),
            ("CARGO_REGISTRIES_X_INDEX", "c"),
            ("RUSTUP_TOOLCHAIN", "c"),
            ("CCACHE_DIR", "m"),
            ("LD_LIBRARY_PATH", "q"),
            ("CARGO_BUILD_TARGET", ""),
            ("RUSTFLAGS", ""),
            ("KCONFIG_CONFIG", ""),
            ("LLVM", ""),
            ("MAKEFLAGS", ""),
            ("HOSTCFLAGS", ""),
            ("CCACHE_PREFIX", ""),
            ("GIT_DIR", ""),
            ("LD_PRELOAD", ""),
            ("GITHUB_TOKEN", ""),
            ("LANG", ""),
        ] {
            for (kind, kept) in [("p", PLAIN), ("a", APT), ("c", CARGO), ("m", MAKE), ("q", QEMU), ("i", PIP)]
            {
                assert_eq!(kept.has(&name.into()), by.contains(kind), "{name} {kind}");
            }
        }
    }

    #[test]
    fn the_rest_of_the_environment_is_not_there() {
        assert_eq!(
            names(PLAIN).iter().filter(|name| !ALL.contains(&name.as_str())).collect::<Vec<_>>(),
            ["LC_ALL"]
        );
        // cargo test sets these.
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!names(CARGO).contains(&"CARGO_MANIFEST_DIR".to_owned()));
    }
}
