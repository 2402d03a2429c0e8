//! Configurations of kernels before a build.

/// A kernel's configuration before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildConfig {
    /// These options and those that they select, and nothing else. A later fragment wins. Each
    /// option must take effect.
    Fragments(Vec<ConfigFile>),
    /// A whole `.config`. An option that it does not have gets its default (`make olddefconfig`).
    Whole(ConfigFile),
}

/// A file of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Returns its name in errors.
    pub name: String,
    pub text: String,
}

impl BuildConfig {
    pub(crate) fn files(&self) -> &[ConfigFile] {
        match self {
            Self::Fragments(files) => files,
            Self::Whole(file) => std::slice::from_ref(file),
        }
    }

    /// All of it as one file.
    pub(crate) fn text(&self) -> String {
        self.files().iter().map(|file| format!("{}\n", file.text)).collect()
    }
}
