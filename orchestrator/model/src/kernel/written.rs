//! Entries as they are written: `provider` decides which further keys there are.

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
        /// What it declares about itself; may be empty.
        traits: BTreeSet<Trait>,
        /// A kernel's metapackage, or one image's own package.
        #[schemars(extend("format" = "package"))]
        package: String,
        /// The one version to take; or else `track`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "version"))]
        version: Option<String>,
        /// That the version moves with the archive; or else `version`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Track")]
        track: Option<Track>,
        /// Suites in which to look.
        #[schemars(schema_with = "schema::suites")]
        suites: Vec<String>,
    },
    /// Debian's source of a kernel, built by s2lab.
    Source {
        /// One sentence: what it is and why it is here.
        about: String,
        /// What it declares about itself; may be empty.
        traits: BTreeSet<Trait>,
        /// A package of kernel source, like linux-source-6.1.
        #[schemars(extend("format" = "package"))]
        package: String,
        /// The one version to take; or else `track`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "version"))]
        version: Option<String>,
        /// That the version moves with the archive; or else `version`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Track")]
        track: Option<Track>,
        /// Suites in which to look.
        #[schemars(schema_with = "schema::suites")]
        suites: Vec<String>,
        /// Fragments of a configuration, files; a later one wins. What none asks for is not set.
        #[schemars(schema_with = "schema::paths")]
        config: Vec<String>,
        /// Patches in order: files, or folders whose files are taken by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(schema_with = "schema::paths")]
        patches: Vec<String>,
    },
    /// A kernel's tree on disk.
    Tree {
        /// One sentence: what it is and why it is here.
        about: String,
        /// What it declares about itself; may be empty.
        traits: BTreeSet<Trait>,
        /// The tree's folder, or the one it was built into (`make O=`).
        #[schemars(extend("format" = "path"))]
        path: String,
        /// Whether s2lab builds it, out of the tree; else it is taken as it was built.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        build: bool,
        /// Fragments of a configuration to build it with; none: the tree's own `.config`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(schema_with = "schema::paths")]
        config: Vec<String>,
    },
    /// An arm64 Image, and what belongs to it.
    Image {
        /// One sentence: what it is and why it is here.
        about: String,
        /// What it declares about itself; may be empty.
        traits: BTreeSet<Trait>,
        /// The Image's file.
        #[schemars(extend("format" = "path"))]
        path: String,
        /// A folder with its modules, in any depth; none: all are built in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        modules: Option<String>,
        /// Its configuration: what it lacks is named before it boots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        config: Option<String>,
        /// Its symbols.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "path"))]
        system_map: Option<String>,
    },
}

/// The schema of an entry is that of what is written.
impl JsonSchema for KernelEntry {
    fn schema_name() -> Cow<'static, str> {
        "KernelEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// How a version moves.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Track {
    /// The newest in any of the suites when it is first asked for; `s2lab store refresh` moves it.
    Newest,
}

/// The loader has seen to it that one of the two is there.
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
