//! The options that a scenario itself asks of its kernel, and the page size of a kernel.

use super::{Config, Setting};
use crate::cell::ResolvedCell;
use crate::scenario::{CpuModel, Size};
use std::{collections::BTreeSet, fmt};

/// The options that choose the page size of an arm64 kernel (arch/arm64/Kconfig, Linux 6.1 to 6.12), and
/// its bytes.
const PAGES: [(&str, u64); 3] =
    [("ARM64_4K_PAGES", 4 << 10), ("ARM64_16K_PAGES", 16 << 10), ("ARM64_64K_PAGES", 64 << 10)];

/// Returns the page size that an option means, in bytes.
pub(crate) fn page_size(option: &str) -> Option<u64> {
    PAGES.iter().find(|(name, _)| *name == option).map(|(_, size)| *size)
}

/// Returns what a kernel lacks of the options that the cell's scenario asks for, each with its reason.
/// An option that is a module counts if a module of that name is delivered.
pub fn asked(config: &Config, cell: &ResolvedCell, delivered: &BTreeSet<String>) -> Vec<String> {
    let has_module = |option: &str| {
        let module = option.to_ascii_lowercase();
        delivered.iter().any(|name| name.replace('-', "_") == module)
    };
    let lack = |(option, reason): (&String, &String)| match config.setting(option) {
        Setting::BuiltIn => None,
        Setting::Module if has_module(option) => None,
        Setting::Module => Some(format!("CONFIG_{option}=m, whose module is not delivered ({reason})")),
        Setting::Off => Some(format!("CONFIG_{option} ({reason})")),
    };
    cell.needs.iter().filter_map(lack).collect()
}

/// A kernel whose pages the CPU does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagesLack {
    cpu: &'static str,
    size: Size,
    option: &'static str,
}

impl fmt::Display for PagesLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, size, option } = self;
        write!(f, "{cpu} has no pages of {size}, and the kernel has CONFIG_{option}")
    }
}

/// Returns the kernel's page size, if the cell's CPU does not have pages of this size.
pub fn pages_without_cpu(config: &Config, cell: &ResolvedCell) -> Option<PagesLack> {
    let cpu = CpuModel::named(&cell.host.cpu)?;
    let (option, size) = PAGES.into_iter().find(|(option, _)| config.setting(option) == Setting::BuiltIn)?;
    (!cpu.pages.contains(&size)).then_some(PagesLack { cpu: cpu.name, size: Size(size), option })
}

/// Returns the page sizes that a kernel may have and the cell's CPU does not have.
pub fn pages_of_no_use(cell: &ResolvedCell) -> Vec<Size> {
    let has = |size: &u64| CpuModel::named(&cell.host.cpu).is_none_or(|cpu| cpu.pages.contains(size));
    PAGES.into_iter().map(|(_, size)| size).filter(|size| !has(size)).map(Size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Traits;
    use crate::scenario::load;

    fn cell(cpu: &str) -> ResolvedCell {
        let text = format!(
            "scenario: s\nabout: x\nneeds: {{IOMMUFD: it is what this is about, HUGETLBFS: \"RAM is huge\"}}\n\
             host: {{cpu: {cpu}}}\nguests: {{g0: {{vmm: qemu}}}}\nsteps: [look: {{name: up}}]\n\
             expect: [{{at: up, of: ram, stage2: Normal-WB}}]\n"
        );
        ResolvedCell::of(&load("s.yaml", &text).unwrap(), Traits::Exactly([].into()))
    }

    fn config(options: &str) -> Config {
        Config::parse(&format!("CONFIG_ARM64=y\n{options}")).unwrap()
    }

    #[test]
    fn what_a_scenario_asks_for_is_named_with_its_reason() {
        let of = |options: &str, modules: &[&str]| {
            asked(&config(options), &cell("max"), &modules.iter().map(|name| (*name).to_owned()).collect())
        };
        let (huge, iommufd) = ("CONFIG_HUGETLBFS (RAM is huge)", "CONFIG_IOMMUFD (it is what this is about)");
        assert_eq!(of("", &[]), [huge, iommufd]);
        assert_eq!(of("CONFIG_HUGETLBFS=y\nCONFIG_IOMMUFD=m\n", &["iommufd"]), [""; 0]);
        let absent = "CONFIG_IOMMUFD=m, whose module is not delivered (it is what this is about)";
        assert_eq!(of("CONFIG_HUGETLBFS=y\nCONFIG_IOMMUFD=m\n", &["vfio"]), [absent]);
    }

    #[test]
    fn a_cpu_may_lack_the_pages_of_a_kernel() {
        let of = |cpu: &str, option: &str| {
            let lack = pages_without_cpu(&config(&format!("CONFIG_{option}=y\n")), &cell(cpu));
            lack.map(|lack| lack.to_string())
        };
        for cpu in ["cortex-a72", "a64fx"] {
            let due = format!("{cpu} has no pages of 16K, and the kernel has CONFIG_ARM64_16K_PAGES");
            assert_eq!(of(cpu, "ARM64_16K_PAGES"), Some(due));
            assert_eq!(of(cpu, "ARM64_64K_PAGES"), None);
        }
        assert_eq!(of("neoverse-n1", "ARM64_16K_PAGES"), None);
        assert_eq!(of("cortex-a53", "KVM"), None, "nothing is known");
        assert_eq!(pages_of_no_use(&cell("cortex-a53")), [Size(16 << 10)]);
        assert_eq!(pages_of_no_use(&cell("max")), []);
    }
}
