//! A kernel's configuration, and the options that the lab needs in it.

mod asked;
mod needs;
mod shown;

pub use asked::{PagesLack, asked, pages_of_no_use, pages_without_cpu};
pub use needs::{How, Lack, NEEDS, Need, Whose, absent, lacking, needs};
pub use shown::{Options, Shortfall, State};
pub(crate) use {asked::page_size, needs::need};

use std::collections::BTreeMap;

/// The prefix of every name.
const PREFIX: &str = "CONFIG_";
/// The architecture of kernels under test. A configuration of another one does not describe them.
const ARCHITECTURE: &str = "ARM64";

/// The settings of a `.config` (Linux, Documentation/kbuild/kconfig-language.rst). A symbol that is
/// missing is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    values: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("line {line} is not a line of a kernel configuration: `{text}`")]
    Line { line: usize, text: String },
    #[error("not a kernel configuration: it sets nothing")]
    Empty,
    #[error("it is not an arm64 kernel's configuration: CONFIG_ARM64 is not set")]
    Architecture,
}

/// The setting of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `=y`.
    BuiltIn,
    /// `=m`.
    Module,
    /// Not set, or set to text or a number.
    Off,
}

impl Config {
    /// Reads a `.config`. The last of several settings of one symbol counts, as it does for the
    /// kernel's own reader (Linux 6.12 scripts/kconfig/confdata.c, conf_read_simple).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().map(str::trim_end).enumerate() {
            let wrong = || {
                let text = line.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect();
                ConfigError::Line { line: number + 1, text }
            };
            if let Some(comment) = line.strip_prefix('#') {
                let unset = comment.strip_prefix(' ').and_then(|c| c.strip_suffix(" is not set"));
                if let Some(name) = unset.and_then(|c| c.strip_prefix(PREFIX)) {
                    values.remove(name);
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            let (name, value) =
                line.strip_prefix(PREFIX).and_then(|rest| rest.split_once('=')).ok_or_else(wrong)?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(wrong());
            }
            match value {
                "n" => values.remove(name),
                _ => values.insert(name.to_owned(), value.to_owned()),
            };
        }
        let config = Self { values };
        match config.setting(ARCHITECTURE) {
            _ if config.values.is_empty() => Err(ConfigError::Empty),
            Setting::BuiltIn => Ok(config),
            _ => Err(ConfigError::Architecture),
        }
    }

    /// Returns the setting of the symbol `name`, without `CONFIG_`.
    pub fn setting(&self, name: &str) -> Setting {
        match self.values.get(name).map(String::as_str) {
            Some("y") => Setting::BuiltIn,
            Some("m") => Setting::Module,
            _ => Setting::Off,
        }
    }
}

/// The most characters of a wrong line that are shown.
const LONGEST_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settings_are_read() {
        let config = Config::parse(
            "#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_ARM64=y\nCONFIG_VFIO=m\r\n\n\
             # CONFIG_KVM is not set\nCONFIG_CC_VERSION_TEXT=\"gcc = y\"\nCONFIG_HZ=250\nCONFIG_X=n\n",
        )
        .unwrap();
        let settings = ["ARM64", "VFIO", "KVM", "CC_VERSION_TEXT", "HZ", "X", "CONFIG_ARM64"];
        let settings = settings.map(|name| config.setting(name));
        use Setting::*;
        assert_eq!(settings, [BuiltIn, Module, Off, Off, Off, Off, Off]);
    }

    #[test]
    fn the_last_setting_counts() {
        let config = |text: &str| Config::parse(&format!("CONFIG_ARM64=y\n{text}")).unwrap().setting("KVM");
        assert_eq!(config("CONFIG_KVM=y\n# CONFIG_KVM is not set\n"), Setting::Off);
        assert_eq!(config("CONFIG_KVM=y\nCONFIG_KVM=n\n"), Setting::Off);
        assert_eq!(config("# CONFIG_KVM is not set\nCONFIG_KVM=y\n"), Setting::BuiltIn);
        assert_eq!(config("CONFIG_KVM=y\n# Not so: CONFIG_KVM is not set\n"), Setting::BuiltIn);
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(Config::parse(""), Err(ConfigError::Empty));
        assert_eq!(Config::parse("# CONFIG_ARM64 is not set\n"), Err(ConfigError::Empty));
        assert_eq!(Config::parse("CONFIG_X86_64=y\nCONFIG_KVM=y\n"), Err(ConfigError::Architecture));
        assert_eq!(Config::parse("CONFIG_ARM64=m\n"), Err(ConfigError::Architecture));
        let line = |text: &str| Config::parse(&format!("CONFIG_ARM64=y\n{text}")).unwrap_err().to_string();
        assert_eq!(
            line("kernels:\u{1b}"),
            "line 2 is not a line of a kernel configuration: `kernels:\\u{1b}`"
        );
        for text in ["CONFIG_KVM", "CONFIG_=y", "CONFIG_K VM=y", "KVM=y", " CONFIG_KVM=y"] {
            assert!(line(text).contains(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}", line in "(CONFIG_[A-Z0-9_]{0,3}|# CONFIG_A|#)(=|=y| is not set)?") {
            let _ = Config::parse(&text);
            let _ = Config::parse(&format!("{line}\n{text}\n{line}"));
        }

        /// A written configuration reads back the same, in any order and between comments.
        #[test]
        fn what_is_written_is_read(
            settings in proptest::collection::btree_map("[A-Z][A-Z0-9_]{0,8}", 0..3u8, 0..40),
        ) {
            let mut text = "# a comment\n".to_owned();
            for (name, setting) in &settings {
                text += &match setting {
                    0 => format!("CONFIG_{name}=y\n"),
                    1 => format!("CONFIG_{name}=m\n\n"),
                    _ => format!("# CONFIG_{name} is not set\n"),
                };
            }
            text += "CONFIG_ARM64=y\n";
            let config = Config::parse(&text).unwrap();
            for (name, setting) in settings.iter().filter(|(name, _)| *name != ARCHITECTURE) {
                let due = [Setting::BuiltIn, Setting::Module, Setting::Off][usize::from(*setting)];
                prop_assert_eq!(config.setting(name), due);
            }
        }
    }
}
