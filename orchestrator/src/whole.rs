//! Files that appear whole or not at all, so that two s2labs at once, a crash or a full disk leave none that is half.

use std::{io, path::Path};

/// Writes `text` to a file beside `path` and renames it; folders above are made. What was at `path` stays until then.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no path of a file"));
    };
    std::fs::create_dir_all(folder)?;
    let half = folder.join(format!(".{}.{}", name.display(), std::process::id()));
    let written = std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path));
    if written.is_err() {
        // The first error is the one to tell; that there is nothing to remove is none.
        let _ = std::fs::remove_file(&half);
    }
    written
}

/// Whether a write failed because there is no room: the disk is full, or a quota or a limit on files is reached.
pub(crate) fn no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.txt");
        write(&path, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        let folder = dir.path().join("a/c.txt");
        std::fs::create_dir_all(folder.join("full")).unwrap();
        assert!(write(&folder, "text").is_err());
        assert!(write(&path.join("below"), "text").is_err() && write(Path::new("/"), "").is_err());
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 2);
    }
}
