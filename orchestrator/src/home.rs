//! A `~` at the beginning of a path. A shell puts the home folder there only where a word begins
//! with it, so not in `tree:~/linux` and not in `--series=~/a.mbox`.

use clap::builder::{PathBufValueParser, TypedValueParser};
use std::{
    env,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

/// `path` with the home folder in place of a `~` at its beginning; as it is without one, or without
/// `HOME`.
pub(crate) fn expand(path: impl AsRef<Path>) -> PathBuf {
    below(env::var_os("HOME").as_deref(), path.as_ref())
}

/// An argument that is a path.
pub(crate) fn argument() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(expand)
}

fn below(home: Option<&OsStr>, path: &Path) -> PathBuf {
    let mut parts = path.components();
    match home.filter(|home| Path::new(home).is_absolute()) {
        Some(home) if parts.next() == Some(Component::Normal("~".as_ref())) => {
            Path::new(home).join(parts.as_path())
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_path_is_the_home_folder() {
        let of = |path: &str| below(Some("/home/me".as_ref()), Path::new(path)).display().to_string();
        for (path, expected) in [
            ("~/linux", "/home/me/linux"),
            ("~", "/home/me/"),
            ("./~/x", "./~/x"),
            ("a/~", "a/~"),
            ("~other/x", "~other/x"),
            ("", ""),
        ] {
            assert_eq!(of(path), expected);
        }
        assert_eq!(below(None, Path::new("~/x")), Path::new("~/x"));
    }
}
