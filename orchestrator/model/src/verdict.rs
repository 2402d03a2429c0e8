//! Verdicts: the possible results of a cell, their reasons, and the exit code of a run. They are
//! one table, from which documents and all outputs are made.

use crate::event::Stage;
use std::fmt;

/// The result of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A pass. `as_` names the alternative of the expectations that was met, if the scenario has
    /// alternatives.
    Pass {
        as_: Option<String>,
    },
    Fail,
    Timeout(Stage),
    Flaky,
    Error,
    Miss,
    Lost,
    /// A skip, with the names of what is missing.
    Skip(String),
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The printed name, in capitals.
    pub name: &'static str,
    /// The letter that stands for the verdict where many are in one line.
    pub letter: char,
    /// The argument of the verdict, in brackets after the name.
    pub of: Option<&'static str>,
    pub cause: &'static str,
    /// The exit code of a run with this verdict, unless another verdict precedes it, see
    /// [`run_exit`].
    pub exit: u8,
}

const fn row(
    name: &'static str,
    letter: char,
    of: Option<&'static str>,
    cause: &'static str,
    exit: u8,
) -> Row {
    Row { name, letter, of, cause, exit }
}

const PASS: usize = 0;
const FAIL: usize = 1;
const TIMEOUT: usize = 2;
const FLAKY: usize = 3;
const ERROR: usize = 4;
const MISS: usize = 5;
const LOST: usize = 6;
const SKIP: usize = 7;

/// The table of verdicts.
pub static TABLE: [Row; 8] = [
    row("PASS", 'P', None, "every expectation met, every witness agrees", 0),
    row(
        "FAIL",
        'F',
        None,
        "an expectation unmet; panic, oops, hyp panic, WARN, BUG, lockdep, KASAN, KFENCE, UBSAN, memory leak, out of memory, error of KVM, \
         stall, hung task or call trace on the host's console; a taint of the kernel that says that something went wrong; \
         an unexpected KVM_RUN error; a kernel that does not bring up what its configuration has; stored bytes that did not arrive; \
         loaded bytes that are not those of the BAR; the kernel's own account contradicts the tables",
        1,
    ),
    row("TIMEOUT", 'T', Some("stage"), "a deadline passed while the lab was healthy", 1),
    row("FLAKY", 'Y', None, "attempts of one cell differ", 1),
    row("ERROR", 'E', None, "the scenario cannot be carried out as written", 2),
    row(
        "MISS",
        'M',
        None,
        "the lab failed: QEMU died, disk full, a defect of the agent, an observation that should be there is not, a console that lacks messages, \
         or the CPU contradicts the walk: oracle in doubt",
        3,
    ),
    row("LOST", 'L', None, "no final record and no known cause", 3),
    row("SKIP", 'S', Some("reason"), "the kernel, CPU or QEMU lacks what the cell needs, by name", 0),
];

impl Verdict {
    /// The pass of a scenario without alternatives.
    pub const PASS: Verdict = Verdict::Pass { as_: None };

    pub fn row(&self) -> &'static Row {
        &TABLE[match self {
            Verdict::Pass { .. } => PASS,
            Verdict::Fail => FAIL,
            Verdict::Timeout(_) => TIMEOUT,
            Verdict::Flaky => FLAKY,
            Verdict::Error => ERROR,
            Verdict::Miss => MISS,
            Verdict::Lost => LOST,
            Verdict::Skip(_) => SKIP,
        }]
    }

    pub fn name(&self) -> &'static str {
        self.row().name
    }

    pub fn cause(&self) -> &'static str {
        self.row().cause
    }

    pub fn exit(&self) -> u8 {
        self.row().exit
    }

    pub fn passed(&self) -> bool {
        matches!(self, Verdict::Pass { .. })
    }

    /// The argument: the alternative of a pass, the stage of a timeout, the reason of a skip.
    pub fn argument(&self) -> Option<String> {
        match self {
            Verdict::Pass { as_ } => as_.clone(),
            Verdict::Timeout(stage) => Some(stage.to_string()),
            Verdict::Skip(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Returns the verdict of a name and an argument; None: there is no such verdict.
    pub fn of(name: &str, argument: Option<String>) -> Option<Verdict> {
        let verdict = match TABLE.iter().position(|row| row.name == name)? {
            PASS => return Some(Verdict::Pass { as_: argument }),
            TIMEOUT => return Stage::of(&argument?).map(Verdict::Timeout),
            SKIP => return argument.map(Verdict::Skip),
            FAIL => Verdict::Fail,
            FLAKY => Verdict::Flaky,
            ERROR => Verdict::Error,
            MISS => Verdict::Miss,
            LOST => Verdict::Lost,
            _ => return None,
        };
        argument.is_none().then_some(verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Verdict::Pass { as_: Some(label) } => write!(f, " as {label}"),
            Verdict::Timeout(stage) => write!(f, "({stage})"),
            Verdict::Skip(reason) => write!(f, "({reason})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Prepare => "prepare",
            Stage::Preflight => "preflight",
            Stage::HostBoot => "host-boot",
            Stage::Bind => "bind",
            Stage::GuestBoot => "guest-boot",
            Stage::Steps => "steps",
            Stage::ShutDown => "shut-down",
        })
    }
}

impl Stage {
    /// Returns the stage of that name.
    fn of(name: &str) -> Option<Stage> {
        use Stage::*;
        [Prepare, Preflight, HostBoot, Bind, GuestBoot, Steps, ShutDown]
            .into_iter()
            .find(|stage| stage.to_string() == name)
    }
}

/// A signal that ended a run early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Interrupt {
    /// Returns the interrupt for a name in [`crate::event::Event::Interrupted`]. Any signal other
    /// than SIGTERM counts as SIGINT: the run was interrupted.
    pub fn of_signal(name: &str) -> Interrupt {
        if name == "SIGTERM" { Interrupt::Terminate } else { Interrupt::Interrupt }
    }

    /// Returns 128 plus the signal's number, like a shell.
    pub fn exit(self) -> u8 {
        match self {
            Interrupt::Interrupt => 130,
            Interrupt::Terminate => 143,
        }
    }
}

/// The exit codes in order of precedence.
const PRECEDENCE: [u8; 3] = [1, 3, 2];
/// The exit code of a run that tested nothing.
pub const NOTHING_TESTED: u8 = 3;

/// Returns the exit code of a run: 130 or 143 if interrupted, else the first present of 1, 3, 2,
/// else 0. A run without a judged cell exits with 3, "nothing was tested". A SKIP is not a
/// judgement, so a run that skipped everything did not pass.
pub fn run_exit<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>, interrupted: Option<Interrupt>) -> u8 {
    if let Some(signal) = interrupted {
        return signal.exit();
    }
    let verdicts: Vec<_> = verdicts.into_iter().collect();
    if verdicts.iter().all(|v| matches!(v, Verdict::Skip(_))) {
        return NOTHING_TESTED;
    }
    PRECEDENCE.into_iter().find(|code| verdicts.iter().any(|v| v.exit() == *code)).unwrap_or(0)
}

/// The exit code that makes `git bisect run` skip a commit as untestable (git-bisect(1), "Bisect
/// run").
pub const BISECT_SKIP: u8 = 125;
/// The lowest exit code that ends `git bisect run` (ibid.).
pub const BISECT_STOP: u8 = 128;

/// Returns a run's exit code for `git bisect run`. 0 and 1 are judgements of the commit, an
/// interruption ends the bisection, and everything else skips the commit.
pub fn bisect_exit(run: u8) -> u8 {
    match run {
        0 | 1 | BISECT_STOP.. => run,
        _ => BISECT_SKIP,
    }
}

/// Returns the table as Markdown, for `docs/reports.md`.
pub fn markdown() -> String {
    let mut out = String::from("| verdict | cause | exit |\n|---|---|---|\n");
    for row in &TABLE {
        let of = row.of.map(|of| format!("({of})")).unwrap_or_default();
        out.push_str(&format!("| {}{of} | {} | {} |\n", row.name, row.cause, row.exit));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bisection_is_told_good_bad_skip_or_stop() {
        let exit = |verdict: Verdict| bisect_exit(run_exit([&verdict], None));
        assert_eq!([exit(Verdict::PASS), exit(Verdict::Fail), exit(Verdict::Flaky)], [0, 1, 1]);
        for verdict in [Verdict::Miss, Verdict::Error, Verdict::Skip("x".into())] {
            assert_eq!(exit(verdict), BISECT_SKIP);
        }
        assert_eq!(bisect_exit(run_exit([], Some(Interrupt::Interrupt))), 130);
    }

    fn every() -> [Verdict; 8] {
        [
            Verdict::PASS,
            Verdict::Fail,
            Verdict::Timeout(Stage::GuestBoot),
            Verdict::Flaky,
            Verdict::Error,
            Verdict::Miss,
            Verdict::Lost,
            Verdict::Skip("no KVM".into()),
        ]
    }

    #[test]
    fn each_verdict_has_its_own_row() {
        let names: Vec<_> = every().iter().map(Verdict::name).collect();
        assert_eq!(names, TABLE.iter().map(|row| row.name).collect::<Vec<_>>());
        let exits: Vec<_> = every().iter().map(Verdict::exit).collect();
        assert_eq!(exits, [0, 1, 1, 1, 2, 3, 3, 0], "the exit codes are an interface");
    }

    #[test]
    fn a_verdict_is_its_name_and_its_argument() {
        use Stage::*;
        let stages = [Prepare, Preflight, HostBoot, Bind, GuestBoot, Steps, ShutDown];
        let labelled = Verdict::Pass { as_: Some("wc-honoured".into()) };
        for verdict in every().into_iter().chain(stages.map(Verdict::Timeout)).chain([labelled]) {
            assert_eq!(Verdict::of(verdict.name(), verdict.argument()), Some(verdict));
        }
        for (name, argument) in
            [("pass", None), ("TIMEOUT", None), ("TIMEOUT", Some("x")), ("SKIP", None), ("FAIL", Some("x"))]
        {
            assert_eq!(Verdict::of(name, argument.map(str::to_owned)), None, "{name}");
        }
    }

    #[test]
    fn each_verdict_has_its_own_letter() {
        let letters: std::collections::BTreeSet<_> = TABLE.iter().map(|row| row.letter).collect();
        assert_eq!(letters.len(), TABLE.len());
        assert!(TABLE.iter().all(|row| row.name.contains(row.letter)));
    }

    #[test]
    fn text() {
        let texts: Vec<_> = every().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["PASS", "FAIL", "TIMEOUT(guest-boot)", "FLAKY", "ERROR", "MISS", "LOST", "SKIP(no KVM)"]
        );
        assert_eq!(Verdict::Pass { as_: Some("wc-honoured".into()) }.to_string(), "PASS as wc-honoured");
    }

    #[test]
    fn the_first_present_code_wins() {
        use Verdict::*;
        let skip = || Skip("x".into());
        for (verdicts, exit) in [
            (vec![], 3),
            (vec![skip(), skip()], 3),
            (vec![Verdict::PASS], 0),
            (vec![skip(), Verdict::PASS], 0),
            (vec![Verdict::PASS, Error], 2),
            (vec![Error, Lost], 3),
            (vec![Error, Miss, Verdict::PASS], 3),
            (vec![Miss, Fail, Error], 1),
            (vec![Miss, Flaky], 1),
            (vec![Lost, Timeout(Stage::Steps)], 1),
        ] {
            assert_eq!(run_exit(&verdicts, None), exit, "{verdicts:?}");
            assert_eq!(run_exit(&verdicts, Some(Interrupt::Interrupt)), 130);
            assert_eq!(run_exit(&verdicts, Some(Interrupt::of_signal("SIGTERM"))), 143);
        }
    }

    #[test]
    fn the_document_has_this_table() {
        let text = include_str!("../../../docs/reports.md");
        let (_, rest) = text.split_once("<!-- verdicts: from verdict.rs -->\n").expect("start mark");
        let (table, _) = rest.split_once("<!-- end -->").expect("end mark");
        assert_eq!(table, markdown());
    }
}
