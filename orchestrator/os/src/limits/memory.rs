//! The available memory: of the machine, and of the control groups of this process.
//!
//! Version 2: Linux, Documentation/admin-guide/cgroup-v2.rst, "Memory". Version 1:
//! cgroup-v1/memory.rst.

use crate::outside::{self, kinds};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Memory that is available without swapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    pub bytes: u64,
    pub bound: Bound,
}

/// The bound that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Machine,
    ControlGroup,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Machine => "this machine",
            Bound::ControlGroup => "the control group of this process",
        })
    }
}

impl Available {
    /// Returns the memory for this process at this moment.
    pub fn now() -> io::Result<Self> {
        Self::below(Path::new("/"))
    }

    /// Does the work of [`Available::now`] for a system whose files are below `root`.
    fn below(root: &Path) -> io::Result<Self> {
        let meminfo = outside::read_text(&root.join("proc/meminfo"), kinds::SYSTEM)?;
        let machine =
            available(&meminfo).ok_or_else(|| io::Error::other("/proc/meminfo has no MemAvailable"))?;
        let read = |path: &str| outside::read_text(&root.join(path), kinds::SYSTEM).unwrap_or_default();
        let folders = folders(&read("proc/self/cgroup"), &read("proc/self/mountinfo"));
        let left = folders.iter().filter_map(|(folder, version)| version.left(&below(root, folder))).min();
        Ok(match left {
            Some(left) if left < machine => Self { bytes: left, bound: Bound::ControlGroup },
            _ => Self { bytes: machine, bound: Bound::Machine },
        })
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Returns MemAvailable: the memory that programs can have without swapping (Linux,
/// Documentation/filesystems/proc.rst).
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// Returns the bytes that the group in `folder` leaves, or None if it has no limit.
    fn left(self, folder: &Path) -> Option<u64> {
        let (limits, used, cache): (&[&str], _, _) = match self {
            Version::V1 => (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
        };
        let read = |file: &str| outside::read_text(&folder.join(file), kinds::SYSTEM).ok();
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        // `max` is not a number.
        let limit = limits.iter().filter_map(|file| number(file)).min()?;
        let stat = read("memory.stat").unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
        // The kernel drops cached pages before it refuses memory.
        Some(limit.saturating_sub(number(used)?.saturating_sub(cache.unwrap_or(0))))
    }
}

/// Returns the folders of this process's groups that may bound its memory, from its own up to the
/// highest visible one. `groups` is /proc/self/cgroup, `mounts` /proc/self/mountinfo.
fn folders(groups: &str, mounts: &str) -> Vec<(PathBuf, Version)> {
    let mut found = vec![];
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version = match controllers {
            "" => Version::V2,
            _ if controllers.split(',').any(|name| name == "memory") => Version::V1,
            _ => continue,
        };
        let Some((top, mounted)) = mounts.lines().find_map(|line| mount(line, version)) else { continue };
        // In a container the path may lead out of the mount. Then the top is this process's group.
        let below = Path::new(path).strip_prefix(top).unwrap_or(Path::new(""));
        let all = below.ancestors().map(|below| (Path::new(mounted).join(below), version));
        found.extend(all);
    }
    found
}

/// Decodes a line of mountinfo that mounts the hierarchy: the group at its top, and the mount point
/// (proc(5), 3.5).
fn mount(line: &str, version: Version) -> Option<(&str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (top, mounted) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let right = match (kind.next()?, version) {
        ("cgroup2", Version::V2) => true,
        ("cgroup", Version::V1) => kind.nth(1)?.split(',').any(|option| option == "memory"),
        _ => false,
    };
    right.then_some((top, mounted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Makes a system with 8 GiB available, and these files.
    fn system(files: &[(&str, &str)]) -> Available {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in
            [("proc/meminfo", "MemTotal: 1 kB\nMemAvailable:    8388608 kB\n")].iter().chain(files)
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Available::below(dir.path()).unwrap()
    }

    const MOUNTS: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:        8000000 kB\nMemFree:          100 kB\nMemAvailable:    4096 kB\n";
        assert_eq!(available(text), Some(4 << 20));
        for text in [
            "",
            "MemAvailable:",
            "MemAvailable: 4 MB",
            "MemAvailable: -4 kB",
            "MemAvailable: 18446744073709551615 kB",
        ] {
            assert_eq!(available(text), None, "{text}");
        }
        assert!(Available::now().unwrap().bytes > 0);
    }

    #[test]
    fn a_group_above_bounds_too_and_its_cache_counts_as_free() {
        let machine = Available { bytes: 8 << 30, bound: Bound::Machine };
        let group = |bytes| Available { bytes, bound: Bound::ControlGroup };
        let within = |files: &[(&str, &str)]| {
            let base = [("proc/self/cgroup", "0::/a/b\n"), ("proc/self/mountinfo", MOUNTS)];
            system(&[&base, files].concat())
        };
        assert_eq!(system(&[]), machine);
        assert_eq!(within(&[]), machine);
        let (max, current) = ("sys/fs/cgroup/a/b/memory.max", "sys/fs/cgroup/a/b/memory.current");
        assert_eq!(within(&[(max, "max\n"), (current, "4096\n")]), machine);
        assert_eq!(within(&[(max, "2147483648\n"), (current, "1073741824\n")]), group(1 << 30));
        let stat = ("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 536870912\n");
        assert_eq!(within(&[(max, "2147483648\n"), (current, "1073741824\n"), stat]), group(3 << 29));
        // The limits of the group above count. A machine with less memory than the group allows
        // decides itself.
        let (high, above) = ("sys/fs/cgroup/a/memory.high", "sys/fs/cgroup/a/memory.current");
        assert_eq!(within(&[(high, "1048576\n"), (above, "2097152\n")]), group(0));
        assert_eq!(within(&[(high, "1099511627776\n"), (above, "0\n")]), machine);
    }

    #[test]
    fn in_a_container_and_in_version_1() {
        let outside = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", MOUNTS),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
            ("sys/fs/cgroup/memory.current", "0\n"),
        ];
        assert_eq!(system(&outside).bytes, 1 << 20);
        let old = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/y\n"),
            (
                "proc/self/mountinfo",
                "33 32 0:29 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n"),
        ];
        assert_eq!(system(&old), Available { bytes: 2 << 20, bound: Bound::ControlGroup });
    }
}
