//! Checks of the options that a scenario asks of its kernel.

use super::{CpuModel, Size};
use crate::diagnostic::Sink;
use crate::kconfig::page_size;
use crate::yaml::Node;

/// The most options.
pub(super) const MAX_COUNT: usize = 16;
/// The longest name of an option, in characters.
const MAX_LENGTH: usize = 64;

/// Checks the name of an option. The error is the mistake.
pub(super) fn option(text: &str) -> Result<(), String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match text.strip_prefix("CONFIG_") {
        Some(name) => Err(format!("write `{name}`: the names are those of Kconfig files, without CONFIG_")),
        None if text.is_empty() || text.len() > MAX_LENGTH || !text.chars().all(is_name) => {
            Err(format!("`{text}` is not an option of a kernel; a name has A-Z, 0-9 and `_`"))
        }
        None => Ok(()),
    }
}

/// Reports page sizes that no kernel has together, and one that the CPU does not have.
pub(super) fn check(root: &Node, sink: &mut Sink<'_>) {
    let needs = root.get("needs").map(Node::entries).unwrap_or_default();
    let mut pages = needs.iter().filter_map(|entry| Some((entry, page_size(&entry.key)?)));
    let Some((first, size)) = pages.next() else { return };
    for (other, _) in pages {
        let message = format!("`{}` beside `{}`: a kernel has one size of pages", other.key, first.key);
        sink.error(other.span.clone(), message);
    }
    let Some(cpu) = root.get("host").and_then(|host| host.get("cpu")) else { return };
    let Some(model) = cpu.text().and_then(CpuModel::named) else { return };
    if !model.pages.contains(&size) {
        let sizes: Vec<_> = model.pages.iter().map(|size| Size(*size).to_string()).collect();
        let message =
            format!("{} has no pages of {}, which `{}` asks for", model.name, Size(size), first.key);
        sink.error_help(cpu.span.clone(), message, format!("it has pages of {}", sizes.join(" and ")));
    }
}
