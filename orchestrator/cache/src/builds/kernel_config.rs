//! Comparison of a configuration with its fragments. kconfig itself silently drops options that a
//! tree does not have, and options with unmet dependencies.

use crate::builds::config::ConfigFile;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// An option that does not have the value of its fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotTaken {
    option: String,
    wanted: String,
    /// The value in the result. None: not set.
    got: Option<String>,
    file: String,
    line: usize,
}

impl Display for NotTaken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { option, wanted, got, file, line } = self;
        write!(f, "{file}:{line}: {option}={wanted}, but it is {}", got.as_deref().unwrap_or("not set"))
    }
}

/// Returns all options of `files` that `config`, the resulting `.config`, does not have as
/// requested, in the order of their names. If an option is requested twice the last counts.
///
/// # Errors
/// An invalid line of a fragment, by file and line.
pub(crate) fn not_taken(files: &[ConfigFile], config: &str) -> Result<Vec<NotTaken>, String> {
    let mut wanted = BTreeMap::new();
    for file in files {
        for (at, text) in file.text.lines().enumerate() {
            match setting(text) {
                Ok(Some((option, value))) => {
                    wanted.insert(option, (value, &file.name, at + 1));
                }
                Ok(None) => {}
                Err(()) => {
                    let text: String = text.chars().take(80).collect();
                    return Err(format!("{}:{}: this sets no option: `{text}`", file.name, at + 1));
                }
            }
        }
    }
    let got: BTreeMap<&str, &str> =
        config.lines().filter_map(|line| setting(line).ok().flatten()).filter(|(_, v)| *v != "n").collect();
    Ok(wanted
        .into_iter()
        .filter(|(option, (value, ..))| got.get(option).copied().unwrap_or("n") != *value)
        .map(|(option, (value, file, line))| NotTaken {
            option: option.to_owned(),
            wanted: value.to_owned(),
            got: got.get(option).map(|v| (*v).to_owned()),
            file: file.clone(),
            line,
        })
        .collect())
}

/// Decodes `CONFIG_X=value`, or `# CONFIG_X is not set` as `n`. Returns None for a comment or an
/// empty line.
fn setting(line: &str) -> Result<Option<(&str, &str)>, ()> {
    let line = line.trim_end();
    if let Some(comment) = line.strip_prefix('#') {
        let unset = comment.strip_prefix(' ').and_then(|c| c.strip_suffix(" is not set"));
        return Ok(unset.filter(|name| is_name(name)).map(|name| (name, "n")));
    }
    if line.is_empty() {
        return Ok(None);
    }
    line.split_once('=').filter(|(name, value)| is_name(name) && !value.is_empty()).map(Some).ok_or(())
}

fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.strip_prefix("CONFIG_").is_some_and(|rest| !rest.is_empty() && rest.chars().all(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> ConfigFile {
        ConfigFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_did_not_take_is_named_with_its_place() {
        let files = [
            file(
                "a",
                "# why\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_TEXT=\"x\"\n\n# CONFIG_C is not set\nCONFIG_D=m\n",
            ),
            file("b", "CONFIG_B=n\nCONFIG_SIZE=12\nCONFIG_E=y\n# CONFIG_F is not set\n"),
        ];
        let config =
            "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_TEXT=\"y\"\nCONFIG_C=y\nCONFIG_D=m\nCONFIG_SIZE=12\n";
        let found: Vec<String> = not_taken(&files, config).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a:6: CONFIG_C=n, but it is y",
                "b:3: CONFIG_E=y, but it is not set",
                "a:4: CONFIG_TEXT=\"x\", but it is \"y\"",
            ]
        );
    }

    #[test]
    fn a_line_that_sets_nothing_is_a_mistake() {
        for bad in ["CONFIG_A", "A=y", "CONFIG_A y", "CONFIG_=y", "CONFIG_A=", " CONFIG_A=y"] {
            let error = not_taken(&[file("f", &format!("# x\n{bad}\n"))], "").unwrap_err();
            assert_eq!(error, format!("f:2: this sets no option: `{bad}`"));
        }
    }
}
