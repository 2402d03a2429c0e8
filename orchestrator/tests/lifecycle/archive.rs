//! A Debian archive without a network: scripts in the place of `apt-get` and `apt-cache`, and two
//! packages of a kernel, or those of a QEMU. It tests the cache's use of apt, not apt's own work.

use crate::lab::Checked;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The package that names a kernel, and the package with its modules.
pub(crate) const IMAGE: &str = "linux-image-fake";
const MODULES: &str = "linux-modules-fake";
const RELEASE: &str = "6.6";
const VERSION: &str = "1.0";
/// The version that replaces it.
pub(crate) const NEWER: &str = "2.0";
/// The modules that are built in: those that a cell needs.
const BUILT_IN: &[u8] = b"kernel/drivers/virtio/virtio_pci.ko
kernel/drivers/char/virtio_console.ko
kernel/drivers/vfio/vfio.ko
kernel/drivers/vfio/vfio_iommu_type1.ko
kernel/drivers/vfio/pci/vfio-pci.ko
";
/// The bytes of the kernel: some pages, so that a disk may be full in the middle of it.
const IMAGE_SIZE: usize = 12 << 10;

/// A script that plays apt for the archive in its folder. It notes requests in `asked`, and in `listed` the
/// architectures and suites whose lists it has fetched. `down` makes it fail, `cut` names the package of which only a
/// half arrives, `moved` the version that has replaced the only one. `old` makes it an archive without trixie.
const APT: &str = r#"#!/bin/sh
archive=ARCHIVE
last= ; for word in "$@"; do last=$word; done
case "$*" in
indextargets*) echo "file:/fake bookworm main Debian"; echo "file:/fake bookworm-security main Debian" ;;
*update)
    if [ -e "$archive/down" ]; then echo "E: Failed to fetch the lists" >&2; exit 100; fi
    if [ -e "$archive/old" ] && grep -q trixie "$(dirname "$2")/sources.list"; then
        echo "E: The repository 'file:/fake trixie Release' does not have a Release file." >&2; exit 100
    fi
    sed 's/.* arch=\([^ ]*\) .* \([^ ]*\) main$/\1 \2/' "$(dirname "$2")/sources.list" >> "$archive/listed" ;;
*--print-uris*)
    for word in "$@"; do name=${word%%:*}; grep "/$name"_ "$archive/uris"; done; exit 0 ;;
*download*)
    if [ -e "$archive/moved" ]; then echo "E: Version '1.0' for '$last' was not found" >&2; exit 100; fi
    shift 4
    for package in "$@"; do
        name=${package%%:*}
        echo "$name" >> "$archive/asked"
        if [ "$name" = "$(cat "$archive/cut" 2>/dev/null)" ]; then
            head -c 200 "$archive/$name.deb" > "${name}_$(cat "$archive/version")_arm64.deb" || exit 100
            echo "E: Failed to fetch $name  Connection closed" >&2
            exit 100
        fi
        cp "$archive/$name.deb" "${name}_$(cat "$archive/version")_arm64.deb" || exit 100
    done ;;
*show*) cat "$archive/${last%%:*}.show" ;;
*madison*) echo " ${last%%:*} | $(cat "$archive/moved" 2>/dev/null || echo 1.0) | file:/fake bookworm/main arm64 Packages" ;;
*) echo "E: what is $*" >&2; exit 100 ;;
esac
"#;

pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    pub(crate) fn new(folder: &Path) -> Result<Self, String> {
        Self::make(folder).map_err(|error| format!("cannot make an archive: {error}"))
    }

    fn make(folder: &Path) -> std::io::Result<Self> {
        let archive = Self { folder: folder.join("archive") };
        let programs = archive.programs();
        fs::create_dir_all(&programs)?;
        let script = APT.replace("ARCHIVE", &format!("'{}'", archive.folder.display()));
        for name in ["apt-get", "apt-cache"] {
            fs::write(programs.join(name), &script)?;
            fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))?;
        }
        archive.publish(VERSION)?;
        Ok(archive)
    }

    /// Replaces the packages by those of another version.
    pub(crate) fn publish(&self, version: &str) -> std::io::Result<()> {
        let mut image: Vec<u8> = (0..IMAGE_SIZE).map(|n| (n * 7 + n / 251) as u8).collect();
        // An arm64 Image, see cache/src/parts/image.rs.
        // The size in memory is unknown.
        image[16..24].fill(0);
        image[56..60].copy_from_slice(b"ARM\x64");
        let vmlinuz = format!("boot/vmlinuz-{RELEASE}");
        let built_in = format!("usr/lib/modules/{RELEASE}/modules.builtin");
        let first = self.package(version, IMAGE, MODULES, &[(&vmlinuz, &image)])?;
        let second = self.package(version, MODULES, "", &[(&built_in, BUILT_IN)])?;
        fs::write(self.folder.join("version"), version)?;
        fs::write(self.folder.join("uris"), first + &second)
    }

    /// Replaces the packages by those of a QEMU: a program of this machine with its libraries.
    pub(crate) fn publish_qemu(&self, version: &str) -> Checked {
        self.make_qemu(version).map_err(|error| format!("cannot make a QEMU: {error}"))
    }

    fn make_qemu(&self, version: &str) -> std::io::Result<()> {
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let loader = match std::env::consts::ARCH {
            "aarch64" => "lib/ld-linux-aarch64.so.1",
            _ => "lib64/ld-linux-x86-64.so.2",
        };
        let read = |path: &str| fs::read(Path::new("/").join(path));
        let [libc, gcc] = ["libc.so.6", "libgcc_s.so.1"].map(|name| format!("{libraries}/{name}"));
        let files = [
            ("usr/bin/qemu-system-aarch64".to_owned(), read("usr/bin/true")?),
            (format!("usr/{loader}"), read(loader)?),
            (libc.clone(), read(&libc)?),
            (gcc.clone(), read(&gcc).or_else(|_| read("lib/x86_64-linux-gnu/libgcc_s.so.1"))?),
        ];
        let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let qemu = self.package(version, "qemu-system-arm", "", &files)?;
        let roms = self.package(version, "ipxe-qemu", "", &[("usr/lib/ipxe/qemu/a.rom", b"rom")])?;
        fs::write(self.folder.join("version"), version)?;
        fs::write(self.folder.join("uris"), qemu + &roms)
    }

    /// Makes a package of these files, and returns the line that apt prints for it.
    fn package(
        &self,
        version: &str,
        name: &str,
        depends: &str,
        files: &[(&str, &[u8])],
    ) -> std::io::Result<String> {
        let root = self.folder.join(name);
        for (path, content) in files {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap_or(&root))?;
            fs::write(&file, content)?;
        }
        fs::create_dir_all(root.join("DEBIAN"))?;
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\nMaintainer: nobody <a@b.test>\nDescription: x\n"
        );
        fs::write(root.join("DEBIAN/control"), control)?;
        let deb = self.folder.join(format!("{name}.deb"));
        let made = Command::new("dpkg-deb")
            .args(["-Zgzip", "--root-owner-group", "--build"])
            .arg(&root)
            .arg(&deb)
            .output()?;
        if !made.status.success() {
            return Err(std::io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let depends = if depends.is_empty() { String::new() } else { format!("{depends} (= {version})") };
        fs::write(
            self.folder.join(format!("{name}.show")),
            format!("Package: {name}\nDepends: {depends}\n"),
        )?;
        let bytes = fs::read(&deb)?;
        let (sum, size) = (s2lab_model::hash::digest(&bytes), bytes.len());
        let sum = sum.trim_start_matches("sha256:");
        Ok(format!(
            "'file:/fake/{name}_{version}_arm64.deb' {name}_{version}_arm64.deb {size} SHA256:{sum}\n"
        ))
    }

    /// Returns the folder that goes before PATH.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Sets a defect of the archive; see the script.
    pub(crate) fn set(&self, what: &str, text: &str) -> Checked {
        fs::write(self.folder.join(what), text).map_err(|e| e.to_string())
    }

    pub(crate) fn mend(&self, what: &str) -> Checked {
        fs::remove_file(self.folder.join(what)).map_err(|e| e.to_string())
    }

    /// Returns the names of the packages that were requested since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.noted("asked")
    }

    /// Returns the lists that were fetched since the last call: architectures and suite.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.noted("listed")
    }

    fn noted(&self, name: &str) -> Vec<String> {
        let path = self.folder.join(name);
        let noted = fs::read_to_string(&path).unwrap_or_default();
        // There may have been no request.
        let _ = fs::remove_file(path);
        noted.lines().map(str::to_owned).collect()
    }
}

/// The package that comes second.
pub(crate) const SECOND: &str = MODULES;
