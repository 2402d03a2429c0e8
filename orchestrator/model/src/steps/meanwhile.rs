//! The step `while`: a guest stores to a BAR while the host acts on its device, in a bounded loop.

use super::store::{StoreStep, Stored};
use super::{Due, HostStep, Observed, Removal, StepAttempt, StepKind, StepLine, Unmapped, manner, reset};
use crate::finding::{Finding, Weight};
use crate::lines::{LineError, Promised, Word, line};
use crate::record::At;
use crate::scenario::{Promise, RAM, schema};
use s2lab_protocol::{DeviceOperation, pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use std::{fmt, str::FromStr};

/// The most rounds, and the most operations of each: stage 2 is read after most of them.
const MOST_ROUNDS: u32 = 500;
const MOST_OPERATIONS: usize = 8;
/// The longest pause before an operation, in microseconds. A stage-2 fault takes about 250 under
/// emulation. With longer pauses there are fewer rounds in the same time, and each catches as much.
const LONGEST_PAUSE: u64 = 1000;
/// The word for the logging of RAM in lines.
const LOG: &str = "log";

/// A guest stores again and again while the host acts on the device. Then the store is made once more,
/// and its bytes are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct WhileStep {
    /// The store that the guest makes, with the keys of the step `store`. It has one width.
    pub store: StoreStep,
    /// The operations of the host in each round, in this order: at most 8, as in the step `host`.
    #[schemars(length(min = 1, max = MOST_OPERATIONS))]
    pub host: Vec<HostStep>,
    /// The VMM logs dirty pages of RAM during each round. Only for `vmm: builtin`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// The number of rounds, from 1 to 500.
    #[schemars(range(min = 1, max = MOST_ROUNDS))]
    pub rounds: u32,
    /// The seed of the pauses before the operations, 1 if left out.
    #[serde(default = "manner::usual_seed", skip_serializing_if = "manner::is_usual_seed")]
    #[schemars(schema_with = "schema::seed")]
    pub seed: u32,
}

impl WhileStep {
    /// Yields the pauses before the operations of all rounds, in their order.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        let seed = u64::from(self.seed);
        (0u64..).map(move |number| Duration::from_micros(pattern(seed, number * 8) % LONGEST_PAUSE))
    }

    /// Returns true if the host disables the BAR, so that stores may fail meanwhile.
    pub fn disables(&self) -> bool {
        !self.removals().is_empty()
    }

    /// Returns true if an operation is on the device.
    pub(crate) fn acts_on(&self, device: &str) -> bool {
        self.host.iter().any(|operation| operation.parts().0 == device)
    }

    /// Yields the operations of all rounds.
    fn operations(&self) -> impl Iterator<Item = &HostStep> {
        (0..self.rounds).flat_map(|_| &self.host)
    }

    fn what(&self, at: usize) -> String {
        format!("step {at}, stores of {} while the host acts", self.store.guest)
    }
}

impl HostStep {
    /// Returns the removal after which no access may map the BAR again, until another operation.
    pub fn disabling(&self) -> Option<Removal<'_>> {
        let (device, operation) = self.parts();
        let operation = operation.filter(|operation| operation.undone_by().is_some())?;
        Some(Removal::whole(device, operation.name()))
    }
}

impl StepKind for WhileStep {
    fn device(&self) -> Option<&str> {
        Some(&self.store.device)
    }

    fn removals(&self) -> Vec<Removal<'_>> {
        self.operations().filter_map(HostStep::disabling).collect()
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let raced = Due {
            subject: attempt.subject().guest(&self.store.guest).region(&self.store.device),
            what: self.what(attempt.at),
            found: attempt.all::<Raced>().count(),
        };
        std::iter::once(raced).chain(self.store.accesses().due::<Stored>(attempt)).collect()
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let stores = self.store.accesses().unlike(attempt, |stored: &Stored| stored.result.nanos > 0);
        let raced = attempt.all().flat_map(|raced: At<'_, Raced>| self.findings(attempt, raced.data));
        stores.into_iter().chain(raced).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let raced = attempt.all::<Raced>().map(|raced| StepLine::While(raced.line(&self.host)));
        let stored = attempt.all::<Stored>().map(|stored| StepLine::Store(stored.line()));
        raced.chain(stored).map(Promised::Step).collect()
    }
}

impl WhileStep {
    fn findings(&self, attempt: &StepAttempt<'_>, raced: &Raced) -> Vec<Finding> {
        let subject = || attempt.subject().guest(&self.store.guest).region(&self.store.device);
        let finding = |weight, what: &str, expected: &str, found: String| {
            Finding::new(weight, subject(), format!("{}: {what}", self.what(attempt.at)), expected, found)
        };
        let as_planned = raced.guest == self.store.guest
            && raced.device == self.store.device
            && (raced.rounds, raced.seed) == (self.rounds, self.seed)
            && raced.log == self.log
            && raced.operations.iter().eq(self.operations());
        let mut out = vec![];
        if !as_planned {
            let found = format!("{} operations", raced.operations.len());
            out.push(finding(Weight::Lab, "the operations", "those of the step", found));
        }
        if raced.passes == 0 {
            let expected = "each byte at least once";
            out.push(finding(Weight::Lab, "the stores of all bytes", expected, "none".into()));
        }
        if raced.faults > 0 && !self.disables() {
            let (what, expected) = ("KVM_RUN", "no EFAULT, because the BAR is never disabled");
            out.push(finding(Weight::Kernel, what, expected, raced.faults.to_string()));
        }
        if let Some(errno) = raced.refused {
            let found = format!("refused with errno {errno}");
            out.push(finding(Weight::Kernel, "the log of RAM", "done", found).breaking(Promise::LOGGING));
        }
        out
    }
}

/// Stores of a guest while the host acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raced {
    pub guest: String,
    pub device: String,
    pub rounds: u32,
    /// The seed of the pauses.
    pub seed: u32,
    /// The operations that were carried out, in their order.
    pub operations: Vec<HostStep>,
    /// Dirty pages of RAM were logged in each round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// The error number with which the kernel has first refused to log RAM, or to end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<i32>,
    /// The number of times that the guest's vCPUs have stored all of their bytes.
    pub passes: u64,
    /// The number of times that KVM_RUN has failed with EFAULT.
    pub faults: u64,
}

impl Observed for Raced {
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        let own = |operation: &HostStep| operation.parts().0 == self.device;
        match self.operations.iter().all(own) {
            true => Some(Unmapped::Device(&self.device)),
            false => Some(Unmapped::All),
        }
    }
}

impl Raced {
    /// Returns its line. `round` has the operations of a round.
    fn line(&self, round: &[HostStep]) -> WhileLine {
        let Raced { guest, device, rounds, seed, log, .. } = self;
        let operation = |operation: &HostStep| {
            let (device, operation) = operation.parts();
            let word = operation.map_or(reset::WORD, DeviceOperation::name);
            (Word::new(word), Word::new(device))
        };
        let log = log.then(|| (Word::new(LOG), Word::new(RAM)));
        let operations = log.into_iter().chain(round.iter().map(operation)).collect();
        WhileLine {
            guest: Word::new(guest),
            device: Word::new(device),
            rounds: *rounds,
            seed: *seed,
            operations,
        }
    }
}

/// `while g0 stores to nic: 50 rounds, seed 7, memory-off nic, memory-on nic`: what the host has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhileLine {
    pub guest: Word,
    pub device: Word,
    pub rounds: u32,
    pub seed: u32,
    /// The operations of a round, each with its region.
    pub operations: Vec<(Word, Word)>,
}

/// The first word of the line.
pub(super) const WHILE: &str = "while";
const FORM: &str = "while GUEST stores to DEVICE: N rounds, seed N, OPERATION REGION, ...";

impl fmt::Display for WhileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WhileLine { guest, device, rounds, seed, operations } = self;
        write!(f, "{WHILE} {guest} stores to {device}: {rounds} rounds, seed {seed}")?;
        operations.iter().try_for_each(|(operation, region)| write!(f, ", {operation} {region}"))
    }
}

/// Returns a word without the comma behind it.
fn without_comma(word: &str) -> &str {
    word.strip_suffix(',').unwrap_or(word)
}

impl FromStr for WhileLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let words: Vec<_> = text.split(' ').collect();
            let ([_, guest, _, _, device, rounds, _, _, seed], rest) = words.split_first_chunk()?;
            let (pairs, []) = rest.as_chunks::<2>() else { return None };
            let pair = |[operation, region]: &[&str; 2]| {
                Some((operation.parse().ok()?, without_comma(region).parse().ok()?))
            };
            Some(WhileLine {
                guest: guest.parse().ok()?,
                device: device.strip_suffix(':')?.parse().ok()?,
                rounds: rounds.parse().ok()?,
                seed: without_comma(seed).parse().ok()?,
                operations: pairs.iter().map(pair).collect::<Option<_>>()?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(seed: u32) -> WhileStep {
        serde_json::from_value(serde_json::json!({
            "store": {"guest": "g0", "device": "nic", "map": "wc", "width": [8], "bytes": "4K"},
            "host": [{"reset": "nic"}, {"memory-off": "nic"}, {"memory-on": "nic"}],
            "rounds": 2, "seed": seed,
        }))
        .unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_pauses_each_time_and_another_seed_others() {
        let pauses = |seed| step(seed).pauses().take(50).collect::<Vec<_>>();
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
        assert!(pauses(7).iter().all(|pause| *pause < Duration::from_micros(LONGEST_PAUSE)));
    }

    #[test]
    fn stage_2_is_due_after_each_operation_that_disables_the_bar() {
        assert_eq!(step(1).removals(), [Removal::whole("nic", "memory-off"); 2]);
        assert!(step(1).acts_on("nic") && !step(1).acts_on("gpu"));
        let resets = WhileStep { host: vec![HostStep::Reset("nic".into())], ..step(1) };
        assert!(!resets.disables());
    }
}
