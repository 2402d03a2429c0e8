//! Kernel modules: their dependencies, and an archive of the requested ones.
//!
//! Debian's packages have no `modules.dep`. Each module lists its needs in its ELF section
//! `.modinfo` (Linux 6.1, `include/linux/module.h`, MODULE_INFO).

use crate::{
    error::{CacheError, Result},
    parts::initramfs::{self, Node},
};
use object::{Endianness, elf, read::elf::FileHeader};
use std::{collections::BTreeSet, io::Write};

mod tree;

pub use tree::Modules;

/// The most modules in one dependency list. Those of Debian's kernels have at most some twenty.
const MOST_DEPENDS: usize = 1000;

/// The description in a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The modules that must be loaded before.
    pub depends: Vec<String>,
    /// The modules that should be loaded before, if they exist (`softdep: pre`).
    pub soft_depends: Vec<String>,
    /// The release of its kernel: the first word of `vermagic` (Linux 6.1,
    /// `include/linux/vermagic.h`).
    pub release: Option<String>,
}

/// Decodes the text of a `.modinfo` section: `key=value` pairs that end in NUL. Names have `_` for
/// `-`.
pub fn parse_modinfo(section: &[u8]) -> ModuleInfo {
    let mut info = ModuleInfo::default();
    for pair in section.split(|b| *b == 0) {
        let Ok(pair) = std::str::from_utf8(pair) else { continue };
        match pair.split_once('=') {
            Some(("depends", names)) => {
                info.depends.extend(names.split(',').map(str::trim).filter(|n| !n.is_empty()).map(normal));
            }
            Some(("vermagic", text)) => info.release = text.split_whitespace().next().map(str::to_owned),
            Some(("softdep", text)) => {
                let mut pre = false;
                for word in text.split_whitespace() {
                    match word {
                        "pre:" => pre = true,
                        "post:" => pre = false,
                        name if pre => info.soft_depends.push(normal(name)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    info
}

/// Returns the name with `_` for `-`, which the kernel does not distinguish in a module's name.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the `.modinfo` of a module: a 64-bit ELF object. The kernel under test loads only
/// arm64's.
fn modinfo(module: &[u8]) -> Result<ModuleInfo, String> {
    let header = elf::FileHeader64::<Endianness>::parse(module).map_err(|e| e.to_string())?;
    let endian = header.endian().map_err(|e| e.to_string())?;
    let info = match header.e_machine(endian) {
        elf::EM_AARCH64 => section(header, endian, module).map_err(|e| e.to_string())?,
        machine => {
            return Err(format!("it is for ELF machine {machine}, not for arm64 ({})", elf::EM_AARCH64));
        }
    };
    match info.depends.len() + info.soft_depends.len() {
        ..=MOST_DEPENDS => Ok(info),
        count => Err(format!("it depends on {count} modules; at most {MOST_DEPENDS} are looked for")),
    }
}

fn section(
    header: &elf::FileHeader64<Endianness>,
    endian: Endianness,
    module: &[u8],
) -> Result<ModuleInfo, object::Error> {
    let sections = header.sections(endian, module)?;
    Ok(match sections.section_by_name(endian, b".modinfo") {
        Some((_, section)) => parse_modinfo(object::read::elf::SectionHeader::data(section, endian, module)?),
        None => ModuleInfo::default(),
    })
}

/// A module to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    /// The ELF object, not compressed.
    pub content: Vec<u8>,
}

/// The available modules of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The modules with their dependencies, in load order.
    pub modules: Vec<Module>,
    /// The requested modules that are known to be neither a file nor built in.
    pub absent: Vec<String>,
}

/// Sorts depth first. `look` returns None for a built-in module. A circle through a soft dependency
/// is no error, because soft ones only request an order if there is one.
fn order(
    wanted: &[&str],
    mut look: impl FnMut(&str, Option<&str>) -> Result<Option<ModuleInfo>>,
) -> Result<Vec<String>> {
    enum Step {
        Enter { name: String, needed_by: Option<String>, soft: bool },
        Leave(String),
    }
    let (mut order, mut open, mut done) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut steps: Vec<Step> = wanted
        .iter()
        .rev()
        .map(|name| Step::Enter { name: normal(name), needed_by: None, soft: false })
        .collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Leave(name) => {
                open.remove(&name);
                done.insert(name.clone());
                order.push(name);
            }
            Step::Enter { name, .. } if done.contains(&name) => {}
            Step::Enter { name, soft: true, .. } if open.contains(&name) => {}
            Step::Enter { name, needed_by, .. } if open.contains(&name) => {
                let by = needed_by.unwrap_or_else(|| name.clone());
                return Err(CacheError::malformed(
                    format_args!("kernel module `{by}`"),
                    format_args!("depends on `{name}`, which depends on it"),
                ));
            }
            Step::Enter { name, needed_by, .. } => match look(&name, needed_by.as_deref())? {
                None => {
                    done.insert(name);
                }
                Some(info) => {
                    open.insert(name.clone());
                    steps.push(Step::Leave(name.clone()));
                    let enter = |soft| {
                        let by = name.clone();
                        move |n: &String| Step::Enter { name: n.clone(), needed_by: Some(by.clone()), soft }
                    };
                    steps.extend(info.depends.iter().rev().map(enter(false)));
                    steps.extend(info.soft_depends.iter().rev().map(enter(true)));
                }
            },
        }
    }
    Ok(order)
}

/// Writes `modules/LIST` and `modules/NAME.ko` as one archive; returns the names in load order.
pub fn write_archive(out: &mut impl Write, modules: &[Module]) -> Result<Vec<String>> {
    let files: Vec<String> = modules.iter().map(|m| format!("{}.ko", m.name)).collect();
    let list: String = files.iter().map(|f| format!("{f}\n")).collect();
    let paths: Vec<String> = files.iter().map(|f| format!("modules/{f}")).collect();
    let head = [
        ("modules", Node::Directory { mode: 0o755 }),
        ("modules/LIST", Node::File { mode: 0o644, data: list.as_bytes() }),
    ];
    let rest =
        paths.iter().zip(modules).map(|(p, m)| (p.as_str(), Node::File { mode: 0o644, data: &m.content }));
    let written = initramfs::append(out, head.into_iter().chain(rest));
    written.map_err(CacheError::io("cannot write", "the archive of modules"))?;
    Ok(modules.iter().map(|m| m.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn info(depends: &[&str], soft: &[&str]) -> ModuleInfo {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        ModuleInfo { depends: own(depends), soft_depends: own(soft), release: None }
    }

    fn graph(wanted: &[&str], edges: &[(&str, ModuleInfo)]) -> Result<Vec<String>> {
        order(wanted, |name, by| match edges.iter().find(|(n, _)| *n == name) {
            Some((_, i)) => Ok(Some(i.clone())),
            None if name.starts_with("builtin") => Ok(None),
            None => Err(CacheError::NoModule {
                module: name.to_owned(),
                place: "the test".to_owned(),
                needed_by: by.map(str::to_owned),
            }),
        })
    }

    #[test]
    fn modinfo_is_read() {
        let section = b"license=GPL\0depends=vfio-pci-core,vfio,irqbypass\0softdep=pre: a-b c post: d pre: e\0alias=x=y\0depends=\0\xff\xfe\0name";
        assert_eq!(parse_modinfo(section), info(&["vfio_pci_core", "vfio", "irqbypass"], &["a_b", "c", "e"]));
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let edges = [
            ("vfio_pci", info(&["vfio_pci_core", "vfio"], &[])),
            ("vfio_pci_core", info(&["vfio", "builtin_x"], &["irq"])),
            ("vfio", info(&[], &[])),
            ("irq", info(&[], &[])),
        ];
        let order = graph(&["vfio-pci", "vfio", "builtin_y"], &edges).unwrap();
        assert_eq!(order, ["irq", "vfio", "vfio_pci_core", "vfio_pci"]);
    }

    #[test]
    fn circles_end() {
        let hard = [("a", info(&["b"], &[])), ("b", info(&["a"], &[]))];
        assert!(matches!(graph(&["a"], &hard), Err(CacheError::Malformed { .. })));
        assert!(graph(&["a"], &[("a", info(&["a"], &[]))]).is_err());
        let soft = [("a", info(&[], &["b"])), ("b", info(&[], &["a"]))];
        assert_eq!(graph(&["a"], &soft).unwrap(), ["b", "a"]);
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        let error = graph(&["a"], &[("a", info(&["gone"], &[]))]).unwrap_err();
        assert!(
            error.to_string().contains("`gone`") && error.to_string().contains("needed by `a`"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_modinfo(&bytes);
            let _ = modinfo(&bytes);
            let _ = crate::parts::elf::read(&bytes);
        }

        #[test]
        fn any_graph_without_circles_is_ordered(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let names: Vec<String> = (0..12).map(|n| format!("m{n}")).collect();
            // An edge always leads to a lower number.
            let below = |n: usize| edges.iter().filter(|(a, b)| a.max(b) == &n && a != b).map(|(a, b)| names[*a.min(b)].clone()).collect::<Vec<_>>();
            let graph: BTreeMap<String, ModuleInfo> = (0..12).map(|n| (names[n].clone(), ModuleInfo { depends: below(n), ..ModuleInfo::default() })).collect();
            // The worst order of a request.
            let wanted: Vec<&str> = names.iter().rev().map(String::as_str).collect();
            let order = order(&wanted, |name, _| Ok(graph.get(name).cloned())).unwrap();
            prop_assert_eq!(order.len(), 12);
            for (at, name) in order.iter().enumerate() {
                for needed in &graph[name].depends {
                    prop_assert!(order[..at].contains(needed));
                }
            }
        }
    }
}
