//! A user land for the emulated host that the user brings: a folder with an arm64 system of merged
//! usr, or a cpio archive (newc, not compressed) of one, such as `userland.cpio` of another
//! machine's cache.
//!
//! s2lab takes the same parts as for its own user land, and nothing else: [`PROGRAMS`], the
//! libraries and the loader that they name, and libgcc_s if glibc is among those. Folders, links
//! into `/usr`, shell and user are made as for s2lab's own.

use crate::{
    Cache, Package, Userland,
    debian::deb,
    error::{CacheError, Result},
    objects::digest,
    parts::{
        elf,
        given::lacking,
        initramfs::{S_IFDIR, S_IFLNK, S_IFREG},
        qemu::parse_version,
        userland::{ARCHIVE, PROGRAMS, QEMU, WITHOUT_QEMU, both},
    },
};
use cpio::newc;
use memchr::memmem;
use s2lab_os::outside::{self, Outside, kinds};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// The folders of loaders: Debian's glibc, other glibcs, and all others.
const LIBRARIES: [&str; 3] = ["usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib"];
/// glibc, and the library that it loads by itself, see `parts/userland.rs`.
const GLIBC: (&str, &str) = ("libc.so.6", "libgcc_s.so.1");
/// The text before the version in QEMU's program (QEMU 10.0 system/vl.c, version()).
const VERSION: &[u8] = b"QEMU emulator version ";
/// A length above that of any version.
const VERSION_LENGTH: usize = 80;
/// The bits of `st_mode` for the type of a file (Linux, include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
/// A length above that of any link's target (Linux, include/uapi/linux/limits.h, PATH_MAX).
const LONGEST_LINK: u32 = 4096;

#[derive(Serialize)]
struct Inputs<'a> {
    /// The SHA-256 of the archive as it was brought, or of the one made from a folder.
    given: &'a str,
    programs: &'a [&'a str],
    archives: [&'a str; 2],
}

impl Cache {
    /// Returns the user land at `path`.
    pub(crate) fn rootfs(&self, path: &Path) -> Result<Userland> {
        let error = lacking("--rootfs", path);
        let meta = fs::metadata(path).map_err(|why| error(why.to_string()))?;
        // A folder is the user's, and may change meanwhile, so it is searched each time.
        let packed = if meta.is_dir() { Some(collect(path, path)?) } else { None };
        let given = match &packed {
            Some(packed) => digest::bytes(&packed.archive),
            None => digest::file(path)?,
        };
        let inputs = Inputs { given: &given, programs: &PROGRAMS, archives: [ARCHIVE, WITHOUT_QEMU] };
        let object = self.objects.get("userland", "given", &inputs, |building| {
            let packed = match packed {
                Some(packed) => packed,
                None => {
                    let root = building.dir.join("root");
                    fs::create_dir(&root).map_err(CacheError::io("cannot create", &root))?;
                    uncpio(path, &root).map_err(|why| error(format!("no cpio archive (newc): {why}")))?;
                    let packed = collect(&root, path)?;
                    crate::objects::object::remove_tree(&root)?;
                    packed
                }
            };
            for (name, archive) in [(ARCHIVE, &packed.archive), (WITHOUT_QEMU, &packed.without_qemu)] {
                let to = building.dir.join(name);
                fs::write(&to, archive).map_err(CacheError::io("cannot write", &to))?;
            }
            building.facts.insert("qemu".to_owned(), packed.qemu);
            Ok(())
        })?;
        let package = Package {
            name: "rootfs".to_owned(),
            version: "given".to_owned(),
            architecture: "arm64".to_owned(),
            sha256: object.sha256(ARCHIVE)?.to_owned(),
        };
        Ok(Userland {
            archive: object.path.join(ARCHIVE),
            without_qemu: object.path.join(WITHOUT_QEMU),
            packages: vec![package],
            qemu_version: object.fact("qemu")?.to_owned(),
        })
    }
}

/// The parts found in a root.
struct PackedRoot {
    archive: Vec<u8>,
    without_qemu: Vec<u8>,
    /// The version of its QEMU.
    qemu: String,
}

/// Takes the needed parts out of the system below `root`, which was brought as `given`.
fn collect(root: &Path, given: &Path) -> Result<PackedRoot> {
    let error = lacking("--rootfs", given);
    let file = |path: &str| deb::follow(root, path).map(|file| root.join(file)).filter(|file| file.is_file());
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|path| file(path).is_none()).map(|p| format!("/{p}")).collect();
    if !missing.is_empty() {
        return Err(error(format!("it lacks {}", missing.join(", "))));
    }
    let mut qemu = None;
    for program in PROGRAMS {
        let Some(path) = file(program) else { continue };
        let bytes = outside::read(&path, kinds::PROGRAM)?;
        if !elf::is_aarch64(&bytes) {
            return Err(error(format!("its /{program} is not an ELF program for aarch64")));
        }
        if program == QEMU {
            qemu = version(&bytes);
        }
    }
    let qemu = qemu.ok_or_else(|| error(format!("its /{QEMU} is not QEMU")))?;
    let closure = |programs: &[&str]| {
        let mut closure = elf::closure(root, programs, &LIBRARIES, |_| false)?;
        let is = |place: &String, name: &str| place.rsplit('/').next() == Some(name);
        let (glibc, by_itself) = GLIBC;
        if closure.keys().any(|place| is(place, glibc)) && !closure.keys().any(|place| is(place, by_itself)) {
            let mut places = LIBRARIES.iter().map(|folder| format!("{folder}/{by_itself}"));
            let place = places.find(|place| file(place).is_some());
            let place =
                place.ok_or_else(|| error(format!("it lacks `{by_itself}`, which `{glibc}` needs")))?;
            closure.extend(elf::closure(root, &[&place], &LIBRARIES, |_| false)?);
        }
        Ok::<_, CacheError>(closure)
    };
    let [archive, without_qemu] = both(root, &PROGRAMS, closure)?;
    Ok(PackedRoot { archive, without_qemu, qemu })
}

/// Returns the version in the text of a QEMU's program.
fn version(program: &[u8]) -> Option<String> {
    memmem::find_iter(program, VERSION).find_map(|at| {
        let text = program.get(at..)?;
        parse_version(&String::from_utf8_lossy(text.get(..VERSION_LENGTH).unwrap_or(text)))
    })
}

/// Unpacks the archives in the file `from`, one after another like Linux does, below `into`. It
/// leaves out device nodes, and links in place of the folders that merged usr has moved.
fn uncpio(from: &Path, into: &Path) -> io::Result<()> {
    let mut from = BufReader::new(Outside::open(from, kinds::ARCHIVE)?);
    let mut members = 0;
    loop {
        let zeroes = from.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
        let end = from.buffer().is_empty();
        from.consume(zeroes);
        match (end, zeroes) {
            (true, _) if members > 0 => return Ok(()),
            (true, _) => return Err(io::Error::other("it is empty")),
            (false, 0) => {}
            (false, _) => continue,
        }
        let mut member = newc::Reader::new(from)?;
        if !member.entry().is_trailer() {
            put(&mut member, into)?;
        }
        members += 1;
        from = member.finish()?;
    }
}

fn put(member: &mut newc::Reader<impl Read>, into: &Path) -> io::Result<()> {
    let name = Path::new(member.entry().name()).to_owned();
    let (kind, executable) = (member.entry().mode() & S_IFMT, member.entry().mode() & 0o100 != 0);
    let Some(path) = deb::clean(&name)? else { return Ok(()) };
    let target = into.join(&path);
    match kind {
        S_IFDIR => deb::make_folders(into, &path)?,
        S_IFREG => {
            deb::make_parent(into, &path)?;
            deb::remove_existing(&target)?;
            let mut file = File::create_new(&target)?;
            io::copy(member, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        }
        S_IFLNK if deb::MERGED.iter().any(|merged| name == Path::new(merged)) => {}
        S_IFLNK => {
            if member.entry().file_size() > LONGEST_LINK {
                return Err(io::Error::other(format!("the link `{path}` is too long")));
            }
            let mut says = String::new();
            member.read_to_string(&mut says)?;
            deb::make_parent(into, &path)?;
            deb::remove_existing(&target)?;
            symlink(says.trim_end_matches('\0'), &target)?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Quiet,
        parts::initramfs::{Node, append},
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Returns a static program for aarch64 that has only its header, and `text`.
    fn program(text: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[18] = 183;
        bytes[52] = 64;
        bytes.extend(text.as_bytes());
        bytes
    }

    fn qemu() -> Vec<u8> {
        program("\0QEMU emulator version %s\0QEMU emulator version 10.0.2 (Distribution)\n\0")
    }

    fn folder(root: &Path, left_out: &str) {
        for path in PROGRAMS {
            let to = root.join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if path != left_out {
                fs::write(to, if path == QEMU { qemu() } else { program("") }).unwrap();
            }
        }
    }

    fn why(cache: &Cache, path: &Path) -> String {
        let error = cache.given_userland(path).unwrap_err().to_string();
        error.strip_prefix(&format!("--rootfs {}: ", path.display())).unwrap_or(&error).to_owned()
    }

    #[test]
    fn a_folder_and_its_archive_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let root = dir.path().join("root");
        folder(&root, "");
        fs::write(root.join("usr/bin/more"), "not needed").unwrap();
        let one = cache.given_userland(&root).unwrap();
        assert_eq!(one.qemu_version, "10.0.2");
        // s2lab's own archive is brought again. The second archive after it replaces the files of
        // the first.
        let archive = dir.path().join("userland.cpio");
        let mut bytes = fs::read(&one.archive).unwrap();
        append(&mut bytes, [("./usr/bin/busybox", Node::File { mode: 0o755, data: &program("") })]).unwrap();
        bytes.extend([0; 512]);
        fs::write(&archive, bytes).unwrap();
        let two = cache.given_userland(&archive).unwrap();
        assert_eq!(fs::read(&one.archive).unwrap(), fs::read(&two.archive).unwrap());
        assert_eq!(one.packages, two.packages);
        let has_qemu = |archive: &Path| memmem::find(&fs::read(archive).unwrap(), VERSION).is_some();
        for userland in [&one, &two] {
            assert!(has_qemu(&userland.archive) && !has_qemu(&userland.without_qemu));
        }
        assert_eq!(fs::read(&one.without_qemu).unwrap(), fs::read(&two.without_qemu).unwrap());
    }

    #[test]
    fn what_it_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(
            why(&cache, &empty),
            "it lacks /usr/bin/qemu-system-aarch64, /usr/sbin/dropbear, /usr/bin/busybox"
        );
        for program in PROGRAMS {
            let root = dir.path().join(program.replace('/', "-"));
            folder(&root, program);
            assert_eq!(why(&cache, &root), format!("it lacks /{program}"));
            fs::write(root.join(program), "#!/bin/sh\n").unwrap();
            assert_eq!(why(&cache, &root), format!("its /{program} is not an ELF program for aarch64"));
        }
        let root = dir.path().join("root");
        folder(&root, "");
        fs::write(root.join(QEMU), program("QEMU emulator version %s")).unwrap();
        assert_eq!(why(&cache, &root), format!("its /{QEMU} is not QEMU"));
        assert!(why(&cache, &dir.path().join("none")).contains("No such file"));
    }

    #[test]
    fn an_archive_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let archive = dir.path().join("archive");
        let link = ("usr/lib", Node::Link { target: "/tmp" });
        let through = ("usr/lib/file", Node::File { mode: 0o644, data: b"x" });
        for nodes in [vec![("../file", Node::File { mode: 0o644, data: b"x" })], vec![link, through]] {
            let mut bytes = vec![];
            append(&mut bytes, nodes).unwrap();
            fs::write(&archive, bytes).unwrap();
            assert!(
                why(&cache, &archive).starts_with("no cpio archive (newc): "),
                "{}",
                why(&cache, &archive)
            );
        }
        for (bytes, reason) in
            [(&b""[..], "it is empty"), (&[0; 512], "it is empty"), (b"no archive", "magic")]
        {
            fs::write(&archive, bytes).unwrap();
            assert!(why(&cache, &archive).contains(reason), "{}", why(&cache, &archive));
        }
    }

    proptest! {
        #[test]
        fn any_archive_is_survived(damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20)) {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = vec![];
            append(&mut bytes, [
                ("usr", Node::Directory { mode: 0o755 }),
                ("usr/bin", Node::Link { target: "other" }),
                ("usr/file", Node::File { mode: 0o755, data: b"12345" }),
            ]).unwrap();
            for (at, byte) in damage { let at = at.index(bytes.len()); bytes[at] = byte; }
            let (archive, into) = (dir.path().join("a"), dir.path().join("b/c"));
            fs::write(&archive, bytes).unwrap();
            fs::create_dir_all(&into).unwrap();
            let _ = uncpio(&archive, &into);
            prop_assert_eq!(fs::read_dir(dir.path().join("b")).unwrap().count(), 1);
        }
    }
}
