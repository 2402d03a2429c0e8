//! Debian's suites and the archives that serve them. Only the archive's address comes from the
//! machine.

use crate::error::{CacheError, Result};

/// The releases whose lines in the machine's configuration count as Debian's own if there are no
/// lists to confirm it.
const CODENAMES: [&str; 9] =
    ["bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"];

/// Debian's suites of QEMU, of the emulated host's user land and of the toolchain: the release we
/// build on, its fixes, and the backports that have a new enough QEMU.
pub(crate) const ALL: [&str; 4] = ["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"];

/// The suites of the newest QEMU: those of the newest release first. The first entry whose suites the
/// archive has counts. Backports have what testing has, built for a release, so that the libraries
/// fit together on every day.
pub(crate) const NEWEST: [&[&str]; 2] =
    [&["trixie", "trixie-updates", "trixie-security", "trixie-backports"], &ALL];

/// A line of `apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) release: String,
    debian: bool,
}

/// The format that makes `apt-get` print [`Source`]s.
pub(crate) const FORMAT: &str = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";

/// Decodes apt's answer. Lines of other forms are left out.
pub(crate) fn parse(text: &str) -> Vec<Source> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (uri, release, component, origin) = (words.next()?, words.next()?, words.next()?, words.next());
        let codename = release.split('-').next().unwrap_or(release);
        let debian = match origin {
            Some(origin) if !origin.starts_with("$(") => origin == "Debian",
            _ => component == "main" && CODENAMES.contains(&codename) && !release.contains("pgdg"),
        };
        Some(Source { uri: uri.to_owned(), release: release.to_owned(), debian })
    };
    text.lines().filter_map(line).collect()
}

/// Returns the archive that serves `suite`: that of the machine's own line for it, else that of
/// another release.
pub(crate) fn uri<'a>(sources: &'a [Source], suite: &str) -> Result<&'a str> {
    let security = |release: &str| release.ends_with("-security");
    let debian = || sources.iter().filter(|s| s.debian);
    debian()
        .find(|s| s.release == suite)
        .or_else(|| debian().find(|s| security(&s.release) == security(suite)))
        .map(|s| s.uri.as_str())
        .ok_or_else(|| CacheError::NoMirror { suite: suite.to_owned() })
}

/// Checks a name of a suite or an architecture, which reaches apt's files: letters, digits and `-`
/// only.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good { Ok(()) } else { Err(CacheError::BadName { what, name: name.to_owned() }) }
}

/// Checks a package's name by Debian Policy §5.6.1, plus the capital letters that no package has:
/// lower-case letters, digits, `+`, `-`, `.`.
pub(crate) fn check_package(name: &str) -> Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    if good { Ok(()) } else { Err(CacheError::BadName { what: "Debian package", name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "http://a.test/debian/ trixie main Debian\nhttp://a.test/debian/ trixie-updates main Debian\n\
        http://b.test/debian-security/ trixie-security main Debian\nhttp://c.test/x/ bookworm stable Elsewhere\n";

    #[test]
    fn another_release_serves_ours() {
        let sources = parse(MACHINE);
        assert_eq!(uri(&sources, "bookworm").unwrap(), "http://a.test/debian/");
        assert_eq!(uri(&sources, "bookworm-backports").unwrap(), "http://a.test/debian/");
        assert_eq!(uri(&sources, "bookworm-security").unwrap(), "http://b.test/debian-security/");
    }

    #[test]
    fn a_line_of_the_suite_itself_wins() {
        let sources = parse(&format!("{MACHINE}http://old.test/debian/ bookworm main Debian\n"));
        assert_eq!(uri(&sources, "bookworm").unwrap(), "http://old.test/debian/");
    }

    #[test]
    fn foreign_repositories_serve_nothing() {
        let sources = parse(
            "http://c.test/x/ bookworm stable\nhttp://c.test/y/ jammy main Ubuntu\nhttp://c.test/z/ bookworm-pgdg main\nrubbish\n",
        );
        assert!(matches!(uri(&sources, "bookworm"), Err(CacheError::NoMirror { .. })));
    }

    #[test]
    fn without_lists_the_release_tells_debian() {
        let sources = parse(
            "http://a.test/debian/ bookworm main \nhttp://a.test/s/ bookworm-security main $(ORIGIN)\n",
        );
        assert_eq!(uri(&sources, "bookworm-updates").unwrap(), "http://a.test/debian/");
        assert_eq!(uri(&sources, "bookworm-security").unwrap(), "http://a.test/s/");
    }

    #[test]
    fn names_cannot_carry_configuration() {
        for bad in ["", "a b", "x\ny", "[trusted=yes]", "-t", "A", "x/y"] {
            assert!(check_name("suite", bad).is_err(), "{bad:?}");
            assert!(check_package(bad).is_err(), "{bad:?}");
        }
        assert!(
            check_package("libstdc++6").is_ok()
                && check_package("linux-image-6.12.95+deb12-cloud-arm64").is_ok()
        );
    }
}
