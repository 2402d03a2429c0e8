//! Comparison of what a host shows with its kernel's configuration. This is the one place that
//! decides whether a missing facility is the kernel's fault.

use super::{Config, NEEDS, Need, Setting};
use crate::event::StopCause;
use s2lab_protocol::{Facility, Failure, FailureKind};
use std::collections::BTreeSet;

/// The known options of a kernel before it boots.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration, if it is known.
    config: Option<Config>,
    /// The names of the modules that the agent loads, with `_`.
    delivered: BTreeSet<String>,
}

/// The state of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    BuiltIn,
    Module,
    Absent,
    Unknown,
}

/// A missing facility of a host, and its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    pub cause: StopCause,
    pub what: String,
    pub hint: &'static str,
}

/// The hint for a kernel that has an option and does not initialize it.
const KERNEL: &str = "the kernel does not bring up what its configuration has: console.host.log may say why; a word of the \
                      scenario's `arguments` may switch it off";
/// The hint if two causes are possible.
const UNKNOWN: &str =
    "name the kernel's configuration with --config FILE: then it is known whether this is a failure";
/// The hint for a kernel that has no EL2 for guests.
const NESTED: &str = "Linux has it from 6.16 on, by KVM_CAP_ARM_EL2, with the argument `kvm-arm.mode=nested`";
/// The hint for a kernel without the option.
const ABSENT: &str = "build the kernel with this option";

impl Options {
    /// Makes options of `config` and `delivered`, the names of the modules that the agent loads;
    /// `-` and `_` are the same.
    pub fn new(config: Option<Config>, delivered: &BTreeSet<String>) -> Self {
        Self { config, delivered: delivered.iter().map(|name| name.replace('-', "_")).collect() }
    }

    fn state(&self, need: &Need) -> State {
        let delivered = need.module.is_some_and(|module| self.delivered.contains(module));
        match self.config.as_ref().map(|config| config.setting(need.option)) {
            Some(Setting::BuiltIn) => State::BuiltIn,
            Some(Setting::Module) => State::Module,
            // A module of this kernel was given, so its option was not off.
            Some(Setting::Off) | None if delivered => State::Module,
            Some(Setting::Off) => State::Absent,
            None => State::Unknown,
        }
    }

    /// Returns what a failure of the host's agent shows about the kernel, or None if it shows
    /// nothing about it.
    pub fn shortfall(&self, failure: &Failure) -> Option<Shortfall> {
        let shown = &failure.message;
        let (facility, refused) = match failure.kind {
            FailureKind::Missing(facility) => (facility, false),
            FailureKind::Refused(facility) => (facility, true),
            FailureKind::Unsupported | FailureKind::Invalid | FailureKind::System => return None,
        };
        if failure.kind == FailureKind::Missing(Facility::NestedVirtualization) {
            return Some(Shortfall { cause: StopCause::Lacking, what: shown.clone(), hint: NESTED });
        }
        let need = NEEDS.iter().find(|need| need.shows == Some(facility))?;
        let option = need.option;
        Some(match self.state(need) {
            // A facility that refuses is present.
            _ if refused => Shortfall { cause: StopCause::Kernel, what: shown.clone(), hint: KERNEL },
            state @ (State::BuiltIn | State::Module) => {
                let value = if state == State::BuiltIn { "y" } else { "m" };
                let what = format!("{shown}, and the kernel has CONFIG_{option}={value}");
                Shortfall { cause: StopCause::Kernel, what, hint: KERNEL }
            }
            State::Absent => {
                let what = format!("{shown}: the kernel lacks CONFIG_{option}");
                Shortfall { cause: StopCause::Lacking, what, hint: ABSENT }
            }
            State::Unknown => {
                let what = format!(
                    "{shown}: the kernel lacks CONFIG_{option}, or has it and does not bring it up; its configuration \
                     is unknown"
                );
                Shortfall { cause: StopCause::Lacking, what, hint: UNKNOWN }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACILITIES: [Facility; 12] = [
        Facility::Kvm,
        Facility::VfioPci,
        Facility::VfioIommuType1,
        Facility::Iommu,
        Facility::VfioPlatform,
        Facility::VfioNoIommu,
        Facility::Mte,
        Facility::HugePages,
        Facility::TransparentHugePages,
        Facility::Igb,
        Facility::VirtualFunctions,
        Facility::PacketSockets,
    ];

    fn said(config: Option<&str>, delivered: &[&str], kind: FailureKind) -> (StopCause, String) {
        let config = config.map(|text| Config::parse(&format!("CONFIG_ARM64=y\n{text}")).unwrap());
        let delivered = delivered.iter().map(|name| (*name).to_owned()).collect();
        let failure = Failure { kind, message: "it is not there".into() };
        let found = Options::new(config, &delivered).shortfall(&failure).unwrap();
        (found.cause, found.what)
    }

    #[test]
    fn each_facility_has_an_option() {
        for facility in FACILITIES {
            assert_eq!(NEEDS.iter().filter(|need| need.shows == Some(facility)).count(), 1, "{facility:?}");
        }
    }

    #[test]
    fn the_state_of_the_option_decides_whose_fault_an_absence_is() {
        use StopCause::{Kernel, Lacking};
        let kvm = FailureKind::Missing(Facility::Kvm);
        let found = said(Some("CONFIG_KVM=y\n"), &[], kvm);
        assert_eq!(found, (Kernel, "it is not there, and the kernel has CONFIG_KVM=y".into()));
        let found = said(Some(""), &[], kvm);
        assert_eq!(found, (Lacking, "it is not there: the kernel lacks CONFIG_KVM".into()));
        let (cause, what) = said(None, &[], kvm);
        assert_eq!(cause, Lacking);
        assert!(what.contains("lacks CONFIG_KVM, or has it and does not bring it up"), "{what}");
    }

    #[test]
    fn no_option_decides_about_el2_of_guests() {
        for config in [None, Some("CONFIG_KVM=y\n")] {
            let found = said(config, &[], FailureKind::Missing(Facility::NestedVirtualization));
            assert_eq!(found, (StopCause::Lacking, "it is not there".into()));
        }
    }

    #[test]
    fn a_module_that_was_delivered_is_an_option_that_is_there() {
        let vfio = FailureKind::Missing(Facility::VfioPci);
        for config in [Some("CONFIG_VFIO_PCI=m\n"), None] {
            let found = said(config, &["vfio-pci"], vfio);
            assert_eq!(
                found,
                (StopCause::Kernel, "it is not there, and the kernel has CONFIG_VFIO_PCI=m".into())
            );
        }
        assert_eq!(said(None, &["vfio"], vfio).0, StopCause::Lacking);
    }

    #[test]
    fn what_refuses_is_there_whatever_is_known() {
        for facility in FACILITIES {
            for config in [None, Some(""), Some("CONFIG_KVM=y\n")] {
                let found = said(config, &[], FailureKind::Refused(facility));
                assert_eq!(found, (StopCause::Kernel, "it is not there".into()));
            }
        }
    }

    #[test]
    fn other_failures_say_nothing_about_the_kernel() {
        for kind in [FailureKind::Invalid, FailureKind::System, FailureKind::Unsupported] {
            let failure = Failure { kind, message: String::new() };
            assert_eq!(Options::default().shortfall(&failure), None);
        }
    }
}
