//! The line before a run prepares anything: its cells, and what their kernels need.

use super::boots::about;
use crate::boot::kernel::needs::KernelNeed;
use s2lab_cache::{Extent, Need};
use s2lab_model::diagnostic::few;

/// The time of a kernel's whole build on two cores, in words. Seven to ten minutes were measured for
/// those of `images/kernels.yaml`; docs/decisions/0007 has it too.
const WHOLE_BUILD: &str = "about 8 min on two cores";

/// Returns the line for so many cells and kernels. Without needs it only counts.
pub fn line(cells: usize, kernels: usize, needs: &[KernelNeed]) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut line = format!("{} on {}", counted(cells, "cell"), counted(kernels, "kernel"));
    let (mut fetched, mut built) = (vec![], vec![]);
    for KernelNeed { name, need, .. } in needs {
        match need {
            Need::Nothing => {}
            Need::Fetch(Some(bytes)) => fetched.push(format!("{name} ({} MB)", bytes.div_ceil(1_000_000))),
            Need::Fetch(None) => fetched.push(format!("{name} (size not known yet)")),
            Need::Build(Extent::Whole(None)) => built.push(format!("{name} ({WHOLE_BUILD})")),
            Need::Build(Extent::Whole(Some(last))) => {
                built.push(format!("{name} (about {}, like the last one here)", about(*last)));
            }
            Need::Build(Extent::Changes) => built.push(format!("{name} (what has changed)")),
        }
    }
    for (what, kernels) in [("to fetch", fetched), ("to build", built)] {
        if !kernels.is_empty() {
            line += &format!("; {what}: {}", few(kernels.iter().map(String::as_str)));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_line_counts_and_names_what_is_missing() {
        assert_eq!(line(1, 1, &[]), "1 cell on 1 kernel");
        assert_eq!(line(6, 2, &[]), "6 cells on 2 kernels");
        let needs = [
            ("debian-6.1", Need::Fetch(Some(61_200_000))),
            ("debian-7.x", Need::Fetch(None)),
            ("linux-6.1", Need::Build(Extent::Whole(None))),
            ("linux-6.1-wc", Need::Build(Extent::Changes)),
            ("linux-6.12", Need::Build(Extent::Whole(Some(Duration::from_secs(431))))),
            ("debian-6.12", Need::Nothing),
        ];
        let needs = needs.map(|(name, need)| KernelNeed { name: name.into(), kernels: [].into(), need });
        let due = "12 cells on 6 kernels; to fetch: debian-6.1 (62 MB), debian-7.x (size not known yet); to build: \
                   linux-6.1 (about 8 min on two cores), linux-6.1-wc (what has changed), linux-6.12 (about 8 min, \
                   like the last one here)";
        assert_eq!(line(12, 6, &needs), due);
    }
}
