//! The outlook of a cell: the result that is expected of it, as far as that is known before a boot.

use crate::cell::ResolvedCell;
use crate::judge::expected;
use crate::kconfig::{Config, Setting, pages_of_no_use, pages_without_cpu};

/// The reason why a cell that needs s2lab's own kernel module does not run.
pub const NO_MODULE: &str = "the kernel is not built here, so s2lab's own module cannot be built for it";

/// The expected result of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    Pass {
        /// The alternative of the expectations that must be met; several if the kernel's traits are
        /// open. None: the expectations are the same for every kernel.
        label: Option<String>,
        /// The facts about the kernel that are not known yet, and that make the cell a SKIP. Each begins
        /// like `the kernel has`.
        skip_if: Vec<String>,
    },
    Skip {
        reason: String,
    },
}

impl Outlook {
    /// Returns the outlook of a cell. `known` has the options that its kernel is known to have; None:
    /// nothing is known.
    pub fn of(cell: &ResolvedCell, known: Option<&Config>) -> Self {
        if let Some(reason) = &cell.excluded {
            return Self::Skip { reason: reason.clone() };
        }
        if let Some(lack) = known.and_then(|config| pages_without_cpu(config, cell)) {
            return Self::Skip { reason: lack.to_string() };
        }
        let is_known = |option: &str| known.is_some_and(|config| config.setting(option) == Setting::BuiltIn);
        let needs = cell.needs.iter().filter(|(option, _)| !is_known(option));
        let needs = needs.map(|(option, reason)| format!("the kernel lacks CONFIG_{option} ({reason})"));
        // A kernel that is built from fragments has pages of 4K, if none of them chooses others.
        let pages = if known.is_none() { pages_of_no_use(cell) } else { vec![] };
        let cpu = &cell.host.cpu;
        let pages =
            pages.iter().map(|size| format!("the kernel has pages of {size}, which {cpu} does not have"));
        let labels: Vec<_> = expected(cell).into_iter().filter_map(|one| one.label).collect();
        let label = (!labels.is_empty()).then(|| labels.join(" or "));
        // A kernel that is built from fragments has its source.
        let module = (known.is_none() && cell.uses_module()).then(|| NO_MODULE.to_owned());
        Self::Pass { label, skip_if: needs.chain(pages).chain(module).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Trait, Traits};
    use crate::scenario::load;

    fn cell(more: &str, cpu: &str, traits: Traits) -> ResolvedCell {
        let text = format!(
            "scenario: s\nabout: x\n{more}host: {{cpu: {cpu}, devices: {{nic: {{model: ivshmem-plain, bar: 4K}}}}}}\n\
             guests: {{g0: {{vmm: builtin, assign: {{nic: vfio-pci}}}}}}\nsteps: [look: {{name: up}}]\nexpect:\n\
             - {{at: up, of: nic, stage2: Normal-NC, when: [wc-conveyed, wc-honoured]}}\n\
             - {{at: up, of: nic, stage2: Device-nGnRE, unless: [wc-conveyed, wc-honoured]}}\n"
        );
        ResolvedCell::of(&load("s.yaml", &text).unwrap(), traits)
    }

    fn known(options: &str) -> Config {
        Config::parse(&format!("CONFIG_ARM64=y\n{options}")).unwrap()
    }

    fn pass(label: &str, skip_if: &[&str]) -> Outlook {
        let skip_if = skip_if.iter().map(|text| (*text).to_owned()).collect();
        Outlook::Pass { label: Some(label.to_owned()), skip_if }
    }

    #[test]
    fn a_pass_is_that_of_the_kernels_traits() {
        let of = |traits| Outlook::of(&cell("", "neoverse-v1", traits), None);
        let both = [Trait::WcConveyed, Trait::WcHonoured];
        assert_eq!(of(Traits::Exactly(both.into())), pass("wc-honoured", &[]));
        assert_eq!(of(Traits::Exactly([Trait::WcHonoured].into())), pass("before the series", &[]));
        assert_eq!(of(Traits::AtLeast([].into())), pass("before the series or wc-honoured", &[]));
        let mut same = cell("", "neoverse-v1", Traits::Exactly([].into()));
        same.expect.iter_mut().for_each(|one| one.unless.clear());
        same.expect.remove(0);
        assert_eq!(Outlook::of(&same, None), Outlook::Pass { label: None, skip_if: vec![] });
    }

    #[test]
    fn what_is_not_known_of_a_kernel_may_make_a_skip() {
        let cell = cell("needs: {IOMMUFD: its cdev is used}\n", "a64fx", Traits::Exactly([].into()));
        let of = |options| Outlook::of(&cell, Some(&known(options)));
        let lacks = "the kernel lacks CONFIG_IOMMUFD (its cdev is used)";
        assert_eq!(of(""), pass("before the series", &[lacks]));
        assert_eq!(of("CONFIG_IOMMUFD=m\n"), pass("before the series", &[lacks]), "a module may be missing");
        assert_eq!(of("CONFIG_IOMMUFD=y\n"), pass("before the series", &[]));
        let pages = "the kernel has pages of 16K, which a64fx does not have";
        assert_eq!(Outlook::of(&cell, None), pass("before the series", &[lacks, pages]));
    }

    #[test]
    fn what_cannot_run_is_a_skip_with_its_reason() {
        let mut cell = cell("", "a64fx", Traits::Exactly([].into()));
        let of = |cell: &ResolvedCell, options| Outlook::of(cell, Some(&known(options)));
        let pages = "a64fx has no pages of 16K, and the kernel has CONFIG_ARM64_16K_PAGES";
        assert_eq!(of(&cell, "CONFIG_ARM64_16K_PAGES=y\n"), Outlook::Skip { reason: pages.into() });
        assert_eq!(of(&cell, "CONFIG_ARM64_64K_PAGES=y\n"), pass("before the series", &[]));
        cell.excluded = Some("it is slow".into());
        assert_eq!(of(&cell, "CONFIG_ARM64_16K_PAGES=y\n"), Outlook::Skip { reason: "it is slow".into() });
    }
}
