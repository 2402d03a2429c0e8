//! The kernels of a run, and what is known of each: source, release, image, series.

use s2lab_model::{
    event::SeriesOrigin,
    summary::{CellSummary, KernelSummary, RunSummary},
};

/// The archive of the kernel's lists, which finds a mail by its Message-ID.
const ARCHIVE: &str = "https://lore.kernel.org/r/";

/// A kernel of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestedKernel<'a> {
    /// The kernel's half of the keys.
    pub name: &'a str,
    pub facts: Vec<Fact>,
}

/// A fact about a kernel. Its text may come from a guest or a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub name: &'static str,
    pub text: String,
    /// The text is a digest or an identifier, which is useless if it is broken.
    pub is_whole: bool,
}

/// Returns the kernels of the cells, in their order. The cells of a kernel agree about it, but only
/// those that got so far know its release: the first cell that knows a fact is the one that counts.
pub fn kernels(run: &RunSummary) -> Vec<TestedKernel<'_>> {
    let mut kernels: Vec<TestedKernel<'_>> = vec![];
    for cell in &run.cells {
        let name = cell.key.kernel();
        match kernels.iter_mut().find(|known| known.name == name) {
            None => kernels.push(TestedKernel { name, facts: facts(cell) }),
            Some(TestedKernel { facts: known, .. }) => {
                let is_new = |fact: &Fact| known.iter().all(|known| known.name != fact.name);
                let new: Vec<_> = facts(cell).into_iter().filter(is_new).collect();
                known.extend(new);
            }
        }
    }
    kernels
}

fn facts(cell: &CellSummary) -> Vec<Fact> {
    let KernelSummary { release, image, package, about, commit, .. } = &cell.kernel;
    let text = |name, text: &Option<String>| fact(name, text.clone(), false);
    let whole = |name, text: &Option<String>| fact(name, text.clone(), true);
    let series =
        cell.series.iter().flat_map(|SeriesOrigin { patches, digest, subject, message_id, files }| {
            let id = message_id.as_ref().map(|id| format!("<{id}>"));
            let count = Some(if *patches == 1 { "1 patch".into() } else { format!("{patches} patches") });
            [
                text("series", subject),
                fact("on top", count, false),
                whole("Message-ID", &id),
                fact("hash", Some(digest.clone()), true),
            ]
            .into_iter()
            .chain(files.iter().map(|file| fact("patches", Some(file.clone()), true)))
            .collect::<Vec<_>>()
        });
    let kernel = [
        text("source", about),
        whole("commit", commit),
        text("release", release),
        text("package", package),
        whole("image", image),
    ];
    kernel.into_iter().chain(series).flatten().collect()
}

fn fact(name: &'static str, text: Option<String>, is_whole: bool) -> Option<Fact> {
    Some(Fact { name, text: text?, is_whole })
}

/// Returns the links to the series in the archive of the kernel's lists, each once.
pub fn links(run: &RunSummary) -> Vec<String> {
    let ids = run.cells.iter().filter_map(|cell| cell.series.as_ref()?.message_id.as_deref());
    let mut links: Vec<_> = ids.map(|id| format!("{ARCHIVE}{}", percent(id))).collect();
    links.sort();
    links.dedup();
    links
}

/// Returns a Message-ID as a segment of a URL's path (RFC 3986, 3.3).
fn percent(id: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        b'-' | b'.' | b'_' | b'~' | b'@' | b'+' | b'=' | b'$' | b'!' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(one).collect()
}
