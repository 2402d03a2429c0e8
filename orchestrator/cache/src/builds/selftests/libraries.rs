//! Static libraries for arm64 besides the C library, out of Debian's packages.

use crate::{
    Cache,
    builds::kernel_tools,
    debian::{
        apt::{Deb, Question, Scope},
        deb,
    },
    error::Result,
};
use std::path::{Path, PathBuf};

const WHAT: &str = "the libraries of selftests";
const KIND: &str = "toolchain";
const NAME: &str = "libraries";
const ARCHITECTURE: &str = "arm64";
/// The folders of a package for arm64 with headers and with libraries.
const INCLUDE: &str = "usr/include";
const LIB: &str = "usr/lib/aarch64-linux-gnu";
/// The environment's variable with further folders of headers, which each gcc reads.
pub(super) const HEADERS: &str = "CPATH";

/// The source of libraries, which is known before they are fetched.
pub(super) struct Plan {
    scope: Scope,
    pub(super) debs: Vec<Deb>,
}

/// Libraries that are ready to be used.
pub(super) struct Libraries {
    root: PathBuf,
}

impl Libraries {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the folder of their headers.
    pub(super) fn headers(&self) -> PathBuf {
        self.root.join(INCLUDE)
    }

    /// Returns the option for gcc that makes it find them. A cross compiler ignores LIBRARY_PATH (GCC manual,
    /// "Environment Variables Affecting GCC").
    pub(super) fn linking(&self) -> String {
        format!("-L{}", self.root.join(LIB).display())
    }
}

impl Cache {
    /// Finds the packages, for arm64.
    pub(super) fn libraries_plan(&self, packages: &[&str]) -> Result<Plan> {
        let scope = Scope::new(&kernel_tools::SUITES, &[ARCHITECTURE])?;
        let debs = match packages {
            [] => vec![],
            packages => {
                let names: Vec<_> = packages.iter().map(|name| (*name).to_owned()).collect();
                let question = Question { what: WHAT, packages, without: &[] };
                self.apt.resolve(question, &scope, |apt| apt.newest(&names))?
            }
        };
        Ok(Plan { scope, debs })
    }

    /// Returns the libraries, or None if there are none in the plan.
    pub(super) fn libraries(&self, Plan { scope, debs }: &Plan) -> Result<Option<Libraries>> {
        if debs.is_empty() {
            return Ok(None);
        }
        let object = self.objects.get(KIND, NAME, debs, |building| {
            for file in self.apt.fetch(WHAT, scope, debs)? {
                deb::unpack(&file, &building.dir, |path| path.starts_with(INCLUDE) || path.ends_with(".a"))?;
            }
            building.packages = debs.iter().map(Deb::package).collect();
            Ok(())
        })?;
        Ok(Some(Libraries::at(&object.path)))
    }
}
