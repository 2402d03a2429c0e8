//! Unpacking of .deb files, into folders of ours only, as an ordinary user.

use crate::error::{CacheError, Result};
use s2lab_os::child::{self, run};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
    process::Stdio,
};

/// Folders that are links into `/usr` since Debian 12 ("merged usr"); older packages still carry
/// files in them.
pub(crate) const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks the files of `deb` that `keep` accepts below `into`. Paths are relative and of merged
/// usr, so `lib/x` is `usr/lib/x`. Permission bits become 0755 or 0644, and device nodes are left
/// out.
pub(crate) fn unpack(deb: &Path, into: &Path, mut keep: impl FnMut(&str) -> bool) -> Result<()> {
    let mut command = child::command("dpkg-deb", child::PLAIN);
    command.arg("--fsys-tarfile").arg(deb).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    child::tie(&mut command);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => CacheError::NoProgram {
            program: "dpkg-deb".to_owned(),
            purpose: "unpack Debian packages".to_owned(),
        },
        _ => CacheError::io("cannot start", "dpkg-deb")(e),
    })?;
    let Some(stdout) = child.stdout.take() else {
        run::end(&mut child);
        return Err(CacheError::malformed(deb.display(), "no pipe from dpkg-deb"));
    };
    let unpacked = untar(stdout, into, &mut keep).map_err(|e| match e.raw_os_error() {
        // The system's own refusal, such as of a full disk, is not the package's fault.
        Some(_) => CacheError::io("cannot unpack a package into", into)(e),
        None => CacheError::malformed(deb.display(), e),
    });
    // An archive that ended well has been read to its end: dpkg-deb ends by itself.
    if unpacked.is_err() {
        run::end(&mut child);
    }
    let status = child.wait().map_err(CacheError::io("cannot wait for", "dpkg-deb"));
    unpacked?;
    let status = status?;
    if status.success() {
        Ok(())
    } else {
        Err(CacheError::malformed(deb.display(), format_args!("dpkg-deb could not read it ({status})")))
    }
}

/// Does the work of [`unpack`] for an archive itself.
pub(crate) fn untar(from: impl io::Read, into: &Path, keep: &mut dyn FnMut(&str) -> bool) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    for member in archive.entries()? {
        let mut member = member?;
        let Some(path) = clean(&member.path()?)? else { continue };
        if !keep(&path) {
            continue;
        }
        let target = into.join(&path);
        match member.header().entry_type() {
            tar::EntryType::Directory => make_folders(into, &path)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                make_parent(into, &path)?;
                remove_existing(&target)?;
                let mut file = fs::File::create_new(&target)?;
                io::copy(&mut member, &mut file)?;
                let executable = member.header().mode()? & 0o100 != 0;
                file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
            }
            tar::EntryType::Symlink => {
                let says = member.link_name()?.ok_or_else(|| bad("a link without target", &path))?;
                make_parent(into, &path)?;
                remove_existing(&target)?;
                symlink(says, &target)?;
            }
            tar::EntryType::Link => {
                let says = member.link_name()?.ok_or_else(|| bad("a link without target", &path))?;
                let original = clean(&says)?.ok_or_else(|| bad("a link to nothing", &path))?;
                make_parent(into, &path)?;
                make_parent(into, &original)?;
                remove_existing(&target)?;
                fs::hard_link(into.join(original), &target)?;
            }
            _ => {}
        }
    }
    // The producer must not find a closed pipe while it writes the padding after the last member.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Returns a relative path of merged usr, or None for the root itself.
pub(crate) fn clean(path: &Path) -> io::Result<Option<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir | Component::RootDir => {}
            Component::Normal(name) => {
                names.push(
                    name.to_str().ok_or_else(|| bad("a name that is not UTF-8", &path.to_string_lossy()))?,
                );
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(bad("a path that leaves the archive", &path.to_string_lossy()));
            }
        }
    }
    if names.first().is_some_and(|first| MERGED.contains(first)) {
        names.insert(0, "usr");
    }
    Ok((!names.is_empty()).then(|| names.join("/")))
}

fn bad(what: &str, path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: `{path}`"))
}

pub(crate) fn make_parent(into: &Path, path: &str) -> io::Result<()> {
    path.rsplit_once('/').map_or(Ok(()), |(parent, _)| make_folders(into, parent))
}

/// Creates the folders of `path` one by one and refuses to walk through a link, which could lead
/// anywhere.
pub(crate) fn make_folders(into: &Path, path: &str) -> io::Result<()> {
    let mut at: PathBuf = into.to_owned();
    for name in path.split('/') {
        at.push(name);
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(bad("a path through something that is not a folder", path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir(&at)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(crate) fn remove_existing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Returns `path` below `root` with its links followed as if `root` were `/`, or None if it does
/// not exist.
pub(crate) fn follow(root: &Path, path: &str) -> Option<String> {
    /// The limit of Linux, `include/linux/namei.h` (MAXSYMLINKS).
    const MAX_LINKS: u32 = 40;
    let mut links = 0;
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut done: Vec<String> = Vec::new();
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        if done.is_empty() && MERGED.contains(&name.as_str()) {
            done.push("usr".to_owned());
        }
        done.push(name);
        let here = root.join(done.join("/"));
        if fs::symlink_metadata(&here).ok()?.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            let says = fs::read_link(&here).ok()?.to_str()?.to_owned();
            done.pop();
            if says.starts_with('/') {
                done.clear();
            }
            rest.extend(says.split('/').rev().map(str::to_owned));
        }
    }
    Some(done.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(kind: tar::EntryType, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o6755);
        header
    }

    /// The crate's own writer refuses the names that an attacker would use.
    fn raw_name(header: &mut tar::Header, name: &str) {
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..name.len()].copy_from_slice(name.as_bytes());
    }

    enum What<'a> {
        File(&'a str),
        Link(&'a str),
        Hard(&'a str),
    }

    fn archive(members: &[(&str, What<'_>)]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (name, what) in members {
            let (mut header, data) = match what {
                What::File(data) => (header(tar::EntryType::Regular, data.len()), *data),
                What::Link(_) => (header(tar::EntryType::Symlink, 0), ""),
                What::Hard(_) => (header(tar::EntryType::Link, 0), ""),
            };
            if let What::Link(target) | What::Hard(target) = what {
                header.set_link_name_literal(target).unwrap();
            }
            raw_name(&mut header, name);
            header.set_cksum();
            out.append(&header, data.as_bytes()).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn unpacked(members: &[(&str, What<'_>)]) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let result = untar(&archive(members)[..], &dir.path().join("root"), &mut |_| true);
        (dir, result)
    }

    #[test]
    fn files_land_in_merged_usr_without_special_bits() {
        let (dir, result) = unpacked(&[
            ("./lib/x.so.1.2", What::File("so")),
            ("./lib/x.so.1", What::Link("x.so.1.2")),
            ("./usr/bin/a", What::File("a")),
            ("./usr/bin/b", What::Hard("./usr/bin/a")),
        ]);
        result.unwrap();
        let root = dir.path().join("root");
        assert_eq!(fs::read(root.join("usr/lib/x.so.1.2")).unwrap(), b"so");
        assert_eq!(fs::read(root.join("usr/bin/b")).unwrap(), b"a");
        assert_eq!(fs::metadata(root.join("usr/bin/a")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(follow(&root, "lib/x.so.1").unwrap(), "usr/lib/x.so.1.2");
    }

    #[test]
    fn nothing_is_written_outside() {
        for members in [
            vec![("../evil", What::File("x"))],
            vec![("a/../../evil", What::File("x"))],
            vec![("a", What::Link("..")), ("a/evil", What::File("x"))],
            vec![("a", What::Link("/tmp")), ("a/b/evil", What::File("x"))],
            vec![("b", What::Hard("../evil"))],
        ] {
            let (dir, result) = unpacked(&members);
            assert!(result.is_err(), "{}", members[0].0);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // An absolute name is meant below the root; a file replaces a link instead of writing
        // through it.
        let (dir, result) =
            unpacked(&[("/etc/x", What::File("x")), ("l", What::Link("../out")), ("l", What::File("y"))]);
        result.unwrap();
        assert!(dir.path().join("root/etc/x").is_file() && !dir.path().join("out").exists());
    }

    #[test]
    fn links_are_followed_below_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::write(root.join("usr/lib/real"), "").unwrap();
        symlink("/lib/real", root.join("usr/lib/absolute")).unwrap();
        symlink("../../../../../usr/lib/absolute", root.join("usr/lib/up")).unwrap();
        symlink("self", root.join("usr/lib/self")).unwrap();
        symlink("/etc/passwd", root.join("usr/lib/outside")).unwrap();
        assert_eq!(follow(root, "usr/lib/up").unwrap(), "usr/lib/real");
        assert_eq!(follow(root, "lib/absolute").unwrap(), "usr/lib/real");
        assert_eq!(follow(root, "usr/lib/self"), None);
        assert_eq!(follow(root, "usr/lib/outside"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let dir = tempfile::tempdir().unwrap();
            let _ = untar(&bytes[..], dir.path(), &mut |_| true);
        }
    }
}
