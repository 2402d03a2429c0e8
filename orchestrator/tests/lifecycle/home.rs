//! The program itself, with a lab folder, a home, and the parts of a machine that does not exist.

use s2lab_protocol::MARK;
use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// QEMU's place: answers questions, and else plays the script of the kernel that it gets.
const QEMU: &str = r#"#!/bin/sh
case "$*" in
--version) echo 'QEMU emulator version 10.0.2'; exit ;;
*'-cpu help'*) echo neoverse-n1; exit ;;
*'-device loader,'*) exit ;;
esac
script=before
for argument in "$@"; do
    if [ "$previous" = -kernel ] && grep -q 'of after' "$argument"; then script=after; fi
    previous=$argument
done
FAKE_QEMU_SCRIPT=FOLDER/$script.json exec PROGRAM "$@"
"#;

/// A folder with all of it. The kernels `after` and `before` are files of the lab folder.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    /// PATH of s2lab.
    path_of_programs: String,
}

impl Home {
    /// Makes a home whose lab folder has this `kernels.yaml`.
    pub(crate) fn new(kernels: &str) -> Result<Self, Box<dyn Error>> {
        let home = Self { folder: tempfile::tempdir()?, path_of_programs: "/usr/bin:/bin".into() };
        let program = std::env::current_exe()?.display().to_string();
        let qemu = QEMU.replace("FOLDER", &home.path("").display().to_string()).replace("PROGRAM", &program);
        home.write("qemu", qemu.as_bytes())?;
        fs::set_permissions(home.path("qemu"), fs::Permissions::from_mode(0o755))?;
        for (file, text) in [
            ("usr/bin/qemu-system-aarch64", "QEMU emulator version 10.0.2"),
            ("usr/sbin/dropbear", ""),
            ("usr/bin/busybox", ""),
        ] {
            home.write(&format!("rootfs/{file}"), &program_of(text))?;
        }
        home.write("agent", &program_of(MARK))?;
        for kernel in ["after", "before"] {
            home.write(&format!("lab/images/{kernel}"), &image(kernel))?;
        }
        home.write("lab/images/kernels.yaml", kernels.as_bytes())?;
        home.write("lab/scenarios/lifecycle.yaml", include_bytes!("scenario.yaml"))?;
        fs::create_dir(home.path("lab/reports"))?;
        for folder in ["home", "cache", "state"] {
            fs::create_dir(home.path(folder))?;
        }
        Ok(home)
    }

    /// Puts a folder before the others in which s2lab looks for programs.
    pub(crate) fn look_first_in(&mut self, programs: &Path) {
        self.path_of_programs = format!("{}:{}", programs.display(), self.path_of_programs);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn write(&self, below: &str, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.path(below);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)
    }

    /// Returns the command of a verb that boots hosts, with this home alone.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s2lab"));
        command.env_clear().env("PATH", &self.path_of_programs).current_dir(self.path("lab"));
        for (name, folder) in [("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state")] {
            command.env(name, self.path(folder));
        }
        command.arg(verb);
        command.arg("--qemu").arg(self.path("qemu")).arg("--rootfs").arg(self.path("rootfs"));
        command.arg("--agent").arg(self.path("agent"));
        command.arg("--guest-kernel").arg(self.path("lab/images/before"));
        command
    }
}

/// Returns a static program for aarch64 with a text in it, which nothing ever starts.
fn program_of(text: &str) -> Vec<u8> {
    // The header of ELF (System V ABI, "ELF Header"): 64 bits, little endian, EM_AARCH64, no
    // segments and no sections.
    let mut program = vec![0; 64];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16..20].copy_from_slice(&[2, 0, 183, 0]);
    program[20] = 1;
    program[52..62].copy_from_slice(&[64, 0, 56, 0, 0, 0, 64, 0, 0, 0]);
    program.extend(text.bytes());
    program
}

/// Returns a minimal arm64 Image (Linux, Documentation/arch/arm64/booting.rst).
fn image(name: &str) -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    let banner = format!("Linux version 6.12.95 (x@y) #1 SMP of {name}\n");
    image[128..128 + banner.len()].copy_from_slice(banner.as_bytes());
    image
}
