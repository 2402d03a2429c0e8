//! Folders that s2lab makes for itself, for the user alone.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The mode: everything for the user, nothing for others.
pub const MODE: u32 = 0o700;
/// The bits of a mode that let the group and others write.
const OTHERS_WRITE: u32 = 0o022;

/// The variable that moves the cache.
pub const CACHE_VARIABLE: &str = "XDG_CACHE_HOME";

/// A folder in which others may write, so that its content need not be s2lab's.
#[derive(Debug, thiserror::Error)]
#[error("the group or others may write in {} (mode {mode:04o})", .path.display())]
pub struct OpenToOthers {
    path: PathBuf,
    mode: u32,
}

impl OpenToOthers {
    /// Returns a hint for the user.
    pub fn hint(&self) -> String {
        format!(
            "see whether all that lies in it is yours, then `chmod go-w {}`; or name another with XDG_CACHE_HOME, XDG_STATE_HOME or --out",
            self.path.display()
        )
    }
}

/// Returns the folder `s2lab` in the folder that `variable` names, else in `below_home` of the
/// user's home. Returns None if neither is set. `env` returns a variable's value.
pub fn place(env: impl Fn(&str) -> Option<OsString>, variable: &str, below_home: &str) -> Option<PathBuf> {
    // The specification requires that a relative path in these variables is ignored.
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("s2lab"))
}

/// Returns the folder of the cache, like [`place`].
pub fn cache(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    place(env, CACHE_VARIABLE, ".cache")
}

/// Makes `path` and the missing folders above it, for the user alone. An existing folder stays as
/// it is.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)
}

/// Makes the new folder `path`, for the user alone.
pub fn make_new(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(MODE).create(path)
}

/// Checks that only the owner and root may write in `path`. The users of a folder that cannot be
/// checked report that.
///
/// # Errors [`OpenToOthers`] if others may write.
pub fn check(path: &Path) -> Result<(), OpenToOthers> {
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o7777);
    match mode & OTHERS_WRITE {
        0 => Ok(()),
        _ => Err(OpenToOthers { path: path.to_owned(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_closed_and_what_is_there_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (above, folder) = (dir.path().join("cache"), dir.path().join("cache/s2lab"));
        check(&folder).unwrap();
        make(&folder).unwrap();
        assert_eq!((mode(&above), mode(&folder)), (MODE, MODE));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        make(&folder).unwrap();
        check(&folder).unwrap();
        assert_eq!(mode(&folder), 0o755);
        for open in [0o775, 0o757, 0o1777] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            let error = check(&folder).unwrap_err();
            let shown = folder.display();
            assert_eq!(
                error.to_string(),
                format!("the group or others may write in {shown} (mode {open:04o})")
            );
            assert!(error.hint().contains("chmod go-w"));
        }
    }
}
