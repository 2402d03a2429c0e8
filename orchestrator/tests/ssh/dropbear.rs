//! A dropbear of the machine's own architecture, from Debian's archive.

use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// dropbear and what it needs beside glibc and zlib.
const PACKAGES: [&str; 3] = ["dropbear-bin", "libtomcrypt1", "libtommath1"];
/// A script that gives `root` a blank password in a mount namespace of its own, like in the
/// emulated host; `$1` is the folder.
const SCRIPT: &str = "mount --bind $1/passwd /etc/passwd && mount --bind $1/shadow /etc/shadow && \
                      exec env LD_LIBRARY_PATH=$(echo $1/root/usr/lib/*-linux-gnu) $1/root/usr/sbin/dropbear -i -B -r $1/key";

/// A process that is killed when it is dropped.
pub(crate) struct Dropbear(Child);

impl Dropbear {
    /// Starts one. Returns None, and prints the reason, if the user may not change mounts.
    pub(crate) fn start() -> Option<(Self, UnixStream)> {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        if !geteuid().is_root() {
            eprintln!(
                "skipped: logging in with a blank password needs a mount namespace, and that needs root"
            );
            return None;
        }
        let folder = FOLDER.get_or_init(fetch);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(folder);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        Some((Self(command.spawn().unwrap()), ours))
    }

    pub(crate) fn freeze(&self) {
        kill_process(Pid::from_child(&self.0), Signal::STOP).unwrap();
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Unpacks the packages to a folder that stays for the next time.
fn fetch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dropbear");
    if !folder.join("key").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("debs")).unwrap();
        let download = || {
            let mut command = Command::new("apt-get");
            command.arg("download").args(PACKAGES).current_dir(folder.join("debs"));
            command
        };
        // A machine that has never read package lists knows no package.
        if !download().output().unwrap().status.success() {
            run(Command::new("apt-get").args(["--quiet", "update"]));
            run(&mut download());
        }
        for deb in std::fs::read_dir(folder.join("debs")).unwrap() {
            run(Command::new("dpkg-deb").arg("-x").arg(deb.unwrap().path()).arg(folder.join("root")));
        }
        std::fs::write(folder.join("passwd"), "root::0:0:root:/root:/bin/sh\n").unwrap();
        std::fs::write(folder.join("shadow"), "root::1::::::\n").unwrap();
        let libraries = std::fs::read_dir(folder.join("root/usr/lib")).unwrap();
        let libraries =
            libraries.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().ends_with("gnu"));
        run(Command::new(folder.join("root/usr/bin/dropbearkey"))
            .env("LD_LIBRARY_PATH", libraries.unwrap())
            .args(["-t", "ed25519", "-f"])
            .arg(folder.join("key")));
    }
    folder
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
