//! Entries in their written form: `provider` decides which other keys exist.

use super::{Debian, Image, KernelEntry, Package, Provider, Source, Trait, Tree, Version, schema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeSet};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(super) enum Written {
    /// An arm64 kernel package of Debian's archive.
    Debian {
        /// One sentence: what it is and why it is here.
        about: String,
        /// The traits that it declares; may be empty.
        traits: BTreeSet<Trait>,
        /// A kernel's metapackage, or the package of one image.
        #[schemars(extend("format" = "package"))]
        package: String,
        /// The one version to take; otherwise use `track`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "version"))]
        version: Option<String>,
        /// Makes the version move with the archive; otherwise use `version`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Track")]
        track: Option<Track>,
        /// The suites to search.
        #[schemars(schema_with = "schema::suites")]
        suites: Vec<String>,
    },
    /// Debian's source of a kernel, built by s2lab.
    Source {
        /// One sentence: what it is and why it is here.
        about: String,
        /// The traits that it declares; may be empty.
        traits: BTreeSet<Trait>,
        /// A package of kernel source, such as linux-source-6.1.
        #[schemars(extend("format" = "package"))]
        package: String,
        /// The one version to take; otherwise use `track`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "version"))]
        version: Option<String>,
        /// Makes the version move with the archive; otherwise use `version`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Track")]
        track: Option<Track>,
        /// The suites to search.
        #[schemars(schema_with = "schema::suites")]
        suites: Vec<String>,
        /// Configuration fragments (files). A later one wins. An option that none has is not set.
        #[schemars(schema_with = "schema::paths")]
        config: Vec<String>,
        /// Patches in order: files, or folders whose files are taken by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(schema_with = "schema::paths")]
        patches: Vec<String>,
    },
    /// A kernel tree on disk.
    Tree {
        /// One sentence: what it is and why it is here.
        about: String,
        /// The traits that it declares; may be empty.
        traits: BTreeSet<Trait>,
        /// The tree's folder, or the folder it was built into (`make O=`).
        #[schemars(extend("format" = "path"))]
        path: String,
        /// If true, s2lab builds it, out of the tree; otherwise it is taken as it was built.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        build: bool,
        /// Configuration fragments to build it with. None: the tree's own `.config` is used.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(schema_with = "schema::paths")]
        config: Vec<String>,
    },
    /// An arm64 Image and its accompanying files.
    Image {
        /// One sentence: what it is and why it is here.
        about: String,
        /// The traits that it declares; may be empty.
        traits: BTreeSet<Trait>,
        /// The file of the Image.
        #[schemars(extend("format" = "path"))]
        path: String,
        /// A folder with its modules, at any depth. Without it, everything is built in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        modules: Option<String>,
        /// Its configuration. With it, s2lab names missing options before it boots the kernel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        config: Option<String>,
        /// Its symbols.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        system_map: Option<String>,
    },
}

/// The schema of an entry is that of its written form.
impl JsonSchema for KernelEntry {
    fn schema_name() -> Cow<'static, str> {
        "KernelEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// The way in which a version moves.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Track {
    /// The newest in any of the suites when it is first needed; `s2lab cache refresh` moves it.
    Newest,
}

/// Makes a package. The loader has checked that one of the two keys is present.
fn package(name: String, version: Option<String>, suites: Vec<String>) -> Package {
    Package { name, version: version.map_or(Version::Newest, Version::Fixed), suites }
}

fn version(version: Version) -> (Option<String>, Option<Track>) {
    match version {
        Version::Fixed(version) => (Some(version), None),
        Version::Newest => (None, Some(Track::Newest)),
    }
}

impl From<Written> for KernelEntry {
    fn from(written: Written) -> Self {
        match written {
            Written::Debian { about, traits, package: name, version, track: _, suites } => {
                let package = package(name, version, suites);
                Self { about, traits, provider: Provider::Debian(Debian { package }) }
            }
            Written::Source { about, traits, package: name, version, track: _, suites, config, patches } => {
                let package = package(name, version, suites);
                Self { about, traits, provider: Provider::Source(Source { package, config, patches }) }
            }
            Written::Tree { about, traits, path, build, config } => {
                Self { about, traits, provider: Provider::Tree(Tree { path, build, config }) }
            }
            Written::Image { about, traits, path, modules, config, system_map } => {
                let image = Image { path, modules, config, system_map };
                Self { about, traits, provider: Provider::Image(image) }
            }
        }
    }
}

impl From<KernelEntry> for Written {
    fn from(KernelEntry { about, traits, provider }: KernelEntry) -> Self {
        match provider {
            Provider::Debian(Debian { package: Package { name: package, version: which, suites } }) => {
                let (version, track) = version(which);
                Self::Debian { about, traits, package, version, track, suites }
            }
            Provider::Source(Source {
                package: Package { name: package, version: which, suites },
                config,
                patches,
            }) => {
                let (version, track) = version(which);
                Self::Source { about, traits, package, version, track, suites, config, patches }
            }
            Provider::Tree(Tree { path, build, config }) => Self::Tree { about, traits, path, build, config },
            Provider::Image(Image { path, modules, config, system_map }) => {
                Self::Image { about, traits, path, modules, config, system_map }
            }
        }
    }
}
