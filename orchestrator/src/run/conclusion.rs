//! The reason why a cell is over, from all that is known of its end.

use super::stages::Stop;
use crate::host::ending::Ended;
use s2lab_model::event::StopCause;

/// The state of a cell whose work nothing has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Completion {
    /// It has its final record, and the host has powered off.
    Finished,
    /// It has its final record, and the host can serve the next cell.
    Ready,
    /// It is at the end of its steps; this keeps it from passing, and the host is kept for an
    /// operator.
    Lacking(String),
}

/// All that is known of the end of a cell. Facts are only added; [`Facts::conclusion`] weighs them.
#[derive(Debug)]
pub(super) struct Facts {
    /// The result of the cell's work; none if the machine ended and the work did not notice.
    pub(super) work: Option<Result<Completion, Stop>>,
    /// The machine's end, if it came by itself.
    pub(super) ended: Option<Ended>,
    /// The reason why the machine does not run on, after a deadline has passed.
    pub(super) unwell: Option<String>,
    /// The reports of the consoles, in their order.
    pub(super) troubles: Vec<Stop>,
    /// The processes that survived the machine's end.
    pub(super) left: Option<String>,
}

impl Facts {
    /// The facts of a host that serves no cell.
    pub(super) fn of_nobody() -> Self {
        Self { work: Some(Ok(Completion::Ready)), ended: None, unwell: None, troubles: vec![], left: None }
    }

    /// The one place where it is decided why a cell has stopped.
    ///
    /// In this order: an interruption; a crash of a kernel, the last on a console before any other;
    /// what is left of the machine; the machine's own end; everything else by its own word.
    pub(super) fn conclusion(&self) -> Result<&Completion, Stop> {
        let crash = self.troubles.iter().rfind(|trouble| trouble.cause == StopCause::Kernel);
        match (&self.work, crash, &self.left) {
            (Some(Err(stop)), _, _) if stop.cause == StopCause::Interrupted => Err(stop.clone()),
            (_, Some(crash), _) => Err(crash.clone()),
            (Some(Err(stop)), None, _) if stop.cause == StopCause::Kernel => Err(stop.clone()),
            (_, None, Some(left)) => Err(Stop::lab(format!("after the cell: {left}"))),
            (None, None, None) => Err(Stop::lab(self.machine_ended(""))),
            (Some(Err(stop)), None, None) => Err(self.explained(stop)),
            (Some(Ok(done)), None, None) => self.troubles.first().map_or(Ok(done), |stop| Err(stop.clone())),
        }
    }

    /// A failure of the lab, or a deadline, that the state of the machine may explain.
    fn explained(&self, stop: &Stop) -> Stop {
        match (stop.cause, &self.ended, &self.unwell) {
            (StopCause::Lab | StopCause::Timeout, Some(_), _) => {
                Stop::lab(self.machine_ended(&format!(": {}", stop.what)))
            }
            (StopCause::Timeout, None, Some(unwell)) => Stop::lab(format!("{}; {unwell}", stop.what)),
            _ => stop.clone(),
        }
    }

    fn machine_ended(&self, detail: &str) -> String {
        let ended = self.ended.as_ref().map_or_else(|| "the machine ended".to_owned(), Ended::to_string);
        format!("{ended} in the middle of the cell{detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    fn facts(work: Result<Completion, Stop>) -> Facts {
        Facts { work: Some(work), ended: None, unwell: None, troubles: vec![], left: None }
    }

    fn ended(facts: Facts) -> Facts {
        Facts { ended: Some(Ended::Exited(ExitStatus::from_raw(3 << 8))), ..facts }
    }

    fn stop(facts: &Facts) -> (StopCause, String) {
        let stop = facts.conclusion().unwrap_err();
        (stop.cause, stop.what)
    }

    #[test]
    fn an_interruption_is_above_a_crash_and_a_crash_above_all_else() {
        let crash =
            || vec![Stop::lab("disk"), Stop::kernel("oops"), Stop::kernel("panic"), Stop::lab("disk")];
        let interrupted = Facts { troubles: crash(), ..facts(Err(Stop::interrupted())) };
        assert_eq!(stop(&interrupted).0, StopCause::Interrupted);
        for work in
            [Ok(Completion::Finished), Err(Stop::lab("l")), Err(Stop::timeout("t")), Err(Stop::kernel("k"))]
        {
            let facts = Facts { troubles: crash(), left: Some("daemon".into()), ..ended(facts(work)) };
            assert_eq!(stop(&facts), (StopCause::Kernel, "panic".into()), "the last one says most");
        }
    }

    #[test]
    fn the_end_of_the_machine_explains_the_lab_and_deadlines_and_no_kernel() {
        let due = "QEMU ended (exit status: 3) in the middle of the cell";
        for work in [Stop::lab("gdbstub channel"), Stop::timeout("silent")] {
            let what = format!("{due}: {}", work.what);
            assert_eq!(stop(&ended(facts(Err(work)))), (StopCause::Lab, what));
        }
        let unnoticed = Facts { work: None, ..ended(facts(Ok(Completion::Finished))) };
        assert_eq!(stop(&unnoticed), (StopCause::Lab, due.into()));
        assert_eq!(stop(&ended(facts(Err(Stop::kernel("k"))))), (StopCause::Kernel, "k".into()));
        assert_eq!(ended(facts(Ok(Completion::Finished))).conclusion(), Ok(&Completion::Finished));
    }

    #[test]
    fn a_deadline_is_the_labs_if_the_machine_is_unwell() {
        let silent = |unwell: Option<&str>| Facts {
            unwell: unwell.map(str::to_owned),
            ..facts(Err(Stop::timeout("silent")))
        };
        assert_eq!(stop(&silent(None)), (StopCause::Timeout, "silent".into()));
        assert_eq!(stop(&silent(Some("QEMU hangs"))), (StopCause::Lab, "silent; QEMU hangs".into()));
    }

    #[test]
    fn what_is_left_counts_unless_a_kernel_or_a_person_ended_the_cell() {
        let left = |work| Facts { left: Some("daemon".into()), ..facts(work) };
        for work in [Ok(Completion::Finished), Err(Stop::lab("l")), Err(Stop::timeout("t"))] {
            assert_eq!(stop(&left(work)), (StopCause::Lab, "after the cell: daemon".into()));
        }
        assert_eq!(stop(&left(Err(Stop::kernel("k")))).1, "k");
        assert_eq!(stop(&left(Err(Stop::interrupted()))).0, StopCause::Interrupted);
    }

    #[test]
    fn a_console_that_cannot_be_kept_stops_what_would_be_finished() {
        let unkept = Facts { troubles: vec![Stop::lab("disk")], ..facts(Ok(Completion::Finished)) };
        assert_eq!(stop(&unkept), (StopCause::Lab, "disk".into()));
        let known = Facts { troubles: vec![Stop::lab("disk")], ..facts(Err(Stop::lab("l"))) };
        assert_eq!(stop(&known).1, "l");
    }
}
