//! The text formats of apt's files and answers.

use crate::{
    Package,
    debian::suites::{self, Source},
    error::{CacheError, Result},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// A .deb file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// The size in bytes.
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Deb {
    pub(crate) fn package(&self) -> Package {
        Package {
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            sha256: self.sha256.clone(),
        }
    }

    /// Returns the form for `apt-get download`. Architecture `all` has no candidate of that name.
    pub(super) fn exact(&self) -> String {
        match self.architecture.as_str() {
            "all" => format!("{}={}", self.name, self.version),
            architecture => format!("{}:{architecture}={}", self.name, self.version),
        }
    }
}

/// Returns one line a suite, with the architectures whose lists are needed.
pub(super) fn sources_list(sources: &[Source], wanted: &[(&str, &str)], keyring: &str) -> Result<String> {
    let mut by_suite: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (suite, architecture) in wanted {
        by_suite.entry(suite).or_default().push(architecture);
    }
    let mut text = String::new();
    for (suite, architectures) in by_suite {
        let (uri, architectures) = (suites::uri(sources, suite)?, architectures.join(","));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "deb [signed-by={keyring} arch={architectures} target=Packages lang=none] {uri} {suite} main"
        );
    }
    Ok(text)
}

/// Returns the preferences. Suites of backports are marked "not automatic"; here the newest version
/// wins in any suite.
pub(super) fn preferences(suites: &[String]) -> String {
    suites.iter().fold(String::new(), |mut text, suite| {
        let _ = writeln!(text, "Package: *\nPin: release n={suite}\nPin-Priority: 500\n");
        text
    })
}

/// Returns the private configuration.
pub(super) fn conf(dir: &Path, architectures: &[String]) -> Result<String> {
    let dir = dir.to_str().filter(|d| !d.contains(['"', '\\', '\n'])).ok_or_else(|| CacheError::BadName {
        what: "folder that apt accepts",
        name: dir.display().to_string(),
    })?;
    let native = architectures.first().map_or("", String::as_str);
    let list: String = architectures.iter().map(|a| format!(" \"{a}\";")).collect();
    Ok(format!(
        "// Hooks of the machine's configuration concern the machine's packages.\n\
         #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n\
         #clear APT::Architectures;\n\
         APT::Architecture \"{native}\";\nAPT::Architectures {{{list} }};\n\
         APT::Default-Release \"\";\nAPT::Get::List-Cleanup \"false\";\nAPT::Update::Error-Mode \"any\";\n\
         APT::Get::AllowUnauthenticated \"false\";\nAcquire::AllowInsecureRepositories \"false\";\n\
         Acquire::AllowWeakRepositories \"false\";\n\
         // The folders are ours, not the download user's.\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Retries \"3\";\nAcquire::http::Timeout \"30\";\nAcquire::https::Timeout \"30\";\n\
         Dir::State \"{dir}/state\";\nDir::State::lists \"{dir}/lists\";\nDir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\nDir::Cache::archives \"{dir}/cache/archives\";\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"{dir}/preferences\";\nDir::Etc::preferencesparts \"/dev/null\";\n"
    ))
}

/// Decodes the lines `'URI' FILE SIZE SHA256:DIGEST`.
pub(super) fn parse_uris(text: &str) -> Result<Vec<Deb>> {
    let line = |line: &str| {
        let bad =
            |reason: &str| CacheError::malformed("apt's list of files", format_args!("{reason}: `{line}`"));
        let mut words = line.split_whitespace().skip(1);
        let (file, size, sum) = (words.next(), words.next(), words.next());
        let (name, version, architecture) = file_name(file.ok_or_else(|| bad("no file"))?)?;
        let size = size.and_then(|s| s.parse().ok()).ok_or_else(|| bad("no size"))?;
        let sha256 = sum.and_then(|s| s.strip_prefix("SHA256:")).ok_or_else(|| bad("no SHA-256"))?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("no SHA-256"));
        }
        let (version, architecture) = (version.clone(), architecture.to_owned());
        Ok(Deb { name: name.to_owned(), version, architecture, size, sha256: sha256.to_ascii_lowercase() })
    };
    let mut debs = text.lines().filter(|l| l.starts_with('\'')).map(line).collect::<Result<Vec<_>>>()?;
    debs.sort();
    debs.dedup();
    Ok(debs)
}

/// Returns the versions in the lines ` NAME | VERSION | WHERE` of `apt-cache madison`, the newest
/// first, each once.
pub(super) fn parse_versions(text: &str) -> Vec<String> {
    let mut versions = Vec::new();
    for version in text.lines().filter_map(|line| line.split('|').nth(1)).map(|v| v.trim().to_owned()) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// Decodes `name_version_architecture.deb`; apt writes `:` of an epoch as `%3a`.
pub(super) fn file_name(file: &str) -> Result<(&str, String, &str)> {
    let bad =
        || CacheError::malformed("apt's list of files", format_args!("`{file}` is not the name of a .deb"));
    let mut parts = file.strip_suffix(".deb").ok_or_else(bad)?.splitn(3, '_');
    let (Some(name), Some(version), Some(architecture)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad());
    };
    suites::check_package(name)?;
    suites::check_name("architecture", architecture)?;
    let version = version.replace("%3a", ":");
    // Debian Policy §5.6.12.
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c)) {
        return Err(bad());
    }
    Ok((name, version, architecture))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "e979bf3996ad07ab51d52e7e4ba9e00237f89f32dff50bcf0545bd52fa4f6963";

    #[test]
    fn versions_are_listed_once() {
        let line = |version: &str, suite: &str| {
            format!(" linux-image-x | {version} | http://a.test {suite}/main arm64 Packages\n")
        };
        let text =
            line("6.1.5-1", "bookworm-updates") + &line("6.1.4-1", "bookworm") + &line("6.1.4-1", "security");
        assert_eq!(parse_versions(&text), ["6.1.5-1", "6.1.4-1"]);
        assert_eq!(parse_versions("N: Unable to locate package x\n\n"), Vec::<String>::new());
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let text = conf(Path::new("/a b/apt"), &["amd64".to_owned(), "arm64".to_owned()]).unwrap();
        for line in [
            "APT::Architecture \"amd64\";",
            "APT::Architectures { \"amd64\"; \"arm64\"; };",
            "Dir::State \"/a b/apt/state\";",
            "Dir::Etc::sourceparts \"/dev/null\";",
            "APT::Get::AllowUnauthenticated \"false\";",
            "#clear APT::Update::Post-Invoke;",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_folder_cannot_carry_configuration() {
        for bad in ["/a\"; APT::Get::AllowUnauthenticated \"true", "/a\nb", "/a\\"] {
            assert!(matches!(conf(Path::new(bad), &[]), Err(CacheError::BadName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn sources_have_one_line_a_suite() {
        let sources = suites::parse(
            "http://a.test/debian/ trixie main Debian\nhttp://b.test/s/ trixie-security main Debian\n",
        );
        let wanted = [("bookworm", "amd64"), ("bookworm-security", "arm64"), ("bookworm", "arm64")];
        assert_eq!(
            sources_list(&sources, &wanted, "/k.gpg").unwrap(),
            "deb [signed-by=/k.gpg arch=amd64,arm64 target=Packages lang=none] http://a.test/debian/ bookworm main\n\
             deb [signed-by=/k.gpg arch=arm64 target=Packages lang=none] http://b.test/s/ bookworm-security main\n"
        );
    }

    #[test]
    fn lists_of_files_are_read() {
        let text = format!(
            "'http://a.test/q.deb' qemu-system-arm_1%3a10.0.2+ds-2~bpo12+1_arm64.deb 9041288 SHA256:{SUM}\n"
        );
        let debs = parse_uris(&text).unwrap();
        assert_eq!(debs[0].version, "1:10.0.2+ds-2~bpo12+1");
        assert_eq!(
            (debs[0].size, debs[0].exact().as_str()),
            (9041288, "qemu-system-arm:arm64=1:10.0.2+ds-2~bpo12+1")
        );
        assert_eq!(
            parse_uris(&text.replace("arm64.deb", "all.deb")).unwrap()[0].exact(),
            "qemu-system-arm=1:10.0.2+ds-2~bpo12+1"
        );
        assert_eq!(parse_uris(&(text.clone() + &text)).unwrap().len(), 1);
    }

    #[test]
    fn weak_or_strange_lines_are_refused() {
        for bad in [
            format!("'u' a_1_arm64.deb 5 MD5Sum:{}", &SUM[..32]),
            format!("'u' a_1_arm64.deb 5 SHA256:{}", &SUM[1..]),
            format!("'u' a_1_arm64.deb x SHA256:{SUM}"),
            format!("'u' ../a_1_arm64.deb 5 SHA256:{SUM}"),
            format!("'u' a_1;rm_arm64.deb 5 SHA256:{SUM}"),
            format!("'u' a_1_arm/64.deb 5 SHA256:{SUM}"),
            format!("'u' a_1.deb 5 SHA256:{SUM}"),
            "'u'".to_owned(),
        ] {
            assert!(parse_uris(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", line in "'u' [a-z_%0-9.]*deb? ?[0-9]* ?[A-Z0-9:a-f]*") {
            let _ = (parse_uris(&text), parse_uris(&line));
            let _ = suites::parse(&text);
        }
    }
}
