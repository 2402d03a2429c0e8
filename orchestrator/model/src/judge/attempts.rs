//! Several attempts at one cell: those that are due, and their common verdict.

use super::{JudgedAttempt, JudgedCell};
use crate::event::{Attempts, CellEnd, StopCause};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::Shape;
use crate::verdict::Verdict;
use std::collections::HashSet;

/// The most groups of equal endings that [`endings`] names; a hundred attempts may alternate.
const MOST_GROUPS: usize = 8;

/// Returns true if the lab must attempt the cell once more. An attempt without a verdict was
/// interrupted; then none is due.
pub fn another(course: Attempts, done: &[JudgedAttempt]) -> bool {
    let Some(last) = done.last() else { return true };
    let Some(verdict) = &last.judgement.verdict else { return false };
    let done = u32::try_from(done.len()).unwrap_or(u32::MAX);
    match course {
        Attempts::Once => false,
        Attempts::Repeat(all) => done < all,
        Attempts::Boots(all) => done < all && verdict.passed(),
        Attempts::Retry(more) => done <= more && may_be_retried(verdict),
    }
}

/// Returns true for verdicts that show nothing about the kernel. Only these may be repeated and
/// forgotten. A FAIL that does not come back is FLAKY.
fn may_be_retried(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Miss | Verdict::Lost)
}

/// Returns the verdict on a cell. It is FLAKY as soon as two of the attempts that count differ, in
/// their verdicts or in their observations. Under [`Attempts::Retry`] those that were repeated do
/// not count. A planned attempt that is missing is LOST, except for [`Attempts::Boots`]: the other cell
/// may have ended the comparison. In a run that was interrupted it leaves the cell without a verdict.
pub(super) fn verdict(course: Attempts, attempts: &[JudgedAttempt], interrupted: bool) -> Option<Verdict> {
    // While the run goes on, the log has the end of the attempt before that of the run.
    let interrupted = interrupted || attempts.iter().any(was_interrupted);
    let judged: Vec<_> = attempts.iter().filter(|attempt| attempt.judgement.verdict.is_some()).collect();
    let retried = match (course, judged.split_last()) {
        (Attempts::Retry(_), Some((_, before))) => {
            before.iter().take_while(|a| a.judgement.verdict.as_ref().is_some_and(may_be_retried)).count()
        }
        _ => 0,
    };
    let mut counting = judged.iter().skip(retried);
    let (first, due) = (counting.next(), if let Attempts::Repeat(all) = course { all } else { 1 });
    if let Some(first) = first
        && counting.any(|attempt| !alike(attempt, first))
    {
        return Some(Verdict::Flaky);
    }
    let all_there = u32::try_from(judged.len()).is_ok_and(|there| there >= due);
    match first.filter(|_| all_there) {
        Some(attempt) => attempt.judgement.verdict.clone(),
        None => (!interrupted).then_some(Verdict::Lost),
    }
}

/// Returns whether a signal to s2lab has ended the attempt.
fn was_interrupted(attempt: &JudgedAttempt) -> bool {
    matches!(attempt.record.end, Some(CellEnd::Stopped { cause: StopCause::Interrupted, .. }))
}

/// Returns true if two attempts agree. The progress of an attempt that did not come to its end is a
/// matter of time.
fn alike(one: &JudgedAttempt, other: &JudgedAttempt) -> bool {
    let seen = |attempt: &JudgedAttempt| attempt.record.end == Some(CellEnd::Complete);
    one.judgement.verdict == other.judgement.verdict
        && seen(one) == seen(other)
        && (!seen(one)
            || one.account.promised == other.account.promised && one.account.counts_as(&other.account))
}

/// Returns the ends of the attempts, in their order: `MISS, then PASS`, `2 PASS, then FAIL`,
/// `3 PASS`. Returns None for one attempt.
pub fn endings<'a>(verdicts: impl ExactSizeIterator<Item = Option<&'a Verdict>>) -> Option<String> {
    if verdicts.len() < 2 {
        return None;
    }
    let mut groups: Vec<(&str, usize)> = vec![];
    for verdict in verdicts {
        let word = verdict.map_or("interrupted", Verdict::name);
        match groups.last_mut().filter(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => groups.push((word, 1)),
        }
    }
    let more = groups.len().checked_sub(MOST_GROUPS).filter(|more| *more > 0);
    let shown = groups.iter().take(MOST_GROUPS).map(|(word, n)| match n {
        1 => (*word).to_owned(),
        n => format!("{n} {word}"),
    });
    let more = more.map(|more| format!("{more} changes more"));
    Some(shown.chain(more).collect::<Vec<_>>().join(", then "))
}

/// The finding about a FLAKY cell: the difference between the first attempt and the first other
/// one.
pub(crate) fn difference(cell: &JudgedCell) -> Finding {
    let first = cell.attempts.first();
    let other = cell.attempts.iter().find(|attempt| {
        first.is_some_and(|first| {
            first.judgement.verdict != attempt.judgement.verdict
                || first.account.promised != attempt.account.promised
                || !first.account.counts_as(&attempt.account)
        })
    });
    let lines = |attempt: Option<&JudgedAttempt>| -> Vec<String> {
        let promised = attempt.into_iter().flat_map(|attempt| &attempt.account.promised.lines);
        let shape = attempt.into_iter().flat_map(|attempt| &attempt.account.shape.lines);
        let counts = shape.filter(|line| matches!(line, Shape::Count(_))).map(ToString::to_string);
        promised.map(ToString::to_string).chain(counts).collect()
    };
    let (a, b) = (lines(first), lines(other));
    let only = |sign: &str, these: &[String], those: &[String]| {
        let those: HashSet<_> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {}", line.trim_start())).collect::<Vec<_>>()
    };
    Finding {
        weight: Weight::Tables,
        subject: Subject::cell(),
        promise: None,
        what: format!("{} attempts", cell.attempts.len()),
        expected: "all alike".into(),
        found: match endings(cell.verdicts()) {
            // All of one verdict.
            Some(how) if !how.contains(", then ") => format!("{how}, and not the same was seen"),
            how => how.unwrap_or_default(),
        },
        detail: [only("-", &a, &b), only("+", &b, &a)].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;

    fn how(attempts: &[JudgedAttempt]) -> Option<String> {
        endings(attempts.iter().map(|attempt| attempt.judgement.verdict.as_ref()))
    }

    fn pass() -> JudgedAttempt {
        Story::after().attempt()
    }

    fn stopped(cause: StopCause) -> JudgedAttempt {
        Story::after().stopped(cause).attempt()
    }

    /// Returns an attempt that passes with another report.
    fn other_pass() -> JudgedAttempt {
        let mut other = pass();
        other.account.promised.lines.clear();
        other
    }

    fn lost() -> JudgedAttempt {
        let mut lost = pass();
        (lost.record.end, lost.judgement.verdict) = (None, Some(Verdict::Lost));
        lost
    }

    fn interrupted() -> JudgedAttempt {
        let mut attempt = lost();
        attempt.judgement.verdict = None;
        attempt
    }

    #[test]
    fn verdicts_of_several() {
        use Attempts::{Once, Repeat, Retry};
        let passed = pass().judgement.verdict;
        assert!(passed.as_ref().is_some_and(Verdict::passed));
        let (miss, fail) = (|| stopped(StopCause::Lab), || stopped(StopCause::Kernel));
        for (course, attempts, uninterrupted, if_interrupted) in [
            (Once, vec![], Some(Verdict::Lost), None),
            (Once, vec![pass()], passed.clone(), passed.clone()),
            (Once, vec![interrupted()], Some(Verdict::Lost), None),
            (Once, vec![stopped(StopCause::Interrupted)], None, None),
            (Repeat(2), vec![pass(), pass()], passed.clone(), passed.clone()),
            (Repeat(2), vec![pass(), other_pass()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
            (Repeat(2), vec![pass(), fail()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
            (Repeat(2), vec![miss(), pass()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
            (Repeat(2), vec![fail(), fail()], Some(Verdict::Fail), Some(Verdict::Fail)),
            // A third is due, and is missing.
            (Repeat(3), vec![pass(), pass()], Some(Verdict::Lost), None),
            (Repeat(3), vec![pass(), fail()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
            (Retry(2), vec![miss(), pass()], passed.clone(), passed.clone()),
            (Retry(2), vec![miss(), lost(), pass()], passed.clone(), passed.clone()),
            (Retry(2), vec![miss(), fail()], Some(Verdict::Fail), Some(Verdict::Fail)),
            (Retry(2), vec![miss(), miss()], Some(Verdict::Miss), Some(Verdict::Miss)),
            (Retry(2), vec![lost(), miss()], Some(Verdict::Miss), Some(Verdict::Miss)),
            // No lab does this: a result of the kernel counts, whatever comes after it.
            (Retry(2), vec![fail(), pass()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
            (Retry(2), vec![miss(), fail(), pass()], Some(Verdict::Flaky), Some(Verdict::Flaky)),
        ] {
            let words = how(&attempts);
            assert_eq!(verdict(course, &attempts, false), uninterrupted, "{course:?} {words:?}");
            assert_eq!(verdict(course, &attempts, true), if_interrupted, "{course:?} {words:?}");
        }
    }

    #[test]
    fn what_is_attempted_again() {
        use Attempts::{Once, Repeat, Retry};
        let (miss, fail) = (|| stopped(StopCause::Lab), || stopped(StopCause::Kernel));
        for (course, done, due) in [
            (Once, vec![], true),
            (Once, vec![miss()], false),
            (Repeat(2), vec![fail()], true),
            (Repeat(2), vec![fail(), pass()], false),
            (Repeat(2), vec![interrupted()], false),
            (Retry(1), vec![miss()], true),
            (Retry(1), vec![lost()], true),
            (Retry(1), vec![miss(), miss()], false),
            (Retry(2), vec![miss(), miss()], true),
            (Retry(5), vec![pass()], false),
            (Retry(5), vec![fail()], false),
            (Retry(5), vec![stopped(StopCause::Timeout)], false),
            (Retry(5), vec![stopped(StopCause::Scenario)], false),
            (Retry(5), vec![stopped(StopCause::Lacking)], false),
        ] {
            assert_eq!(another(course, &done), due, "{course:?} {}", done.len());
        }
    }

    #[test]
    fn words() {
        let miss = || stopped(StopCause::Lab);
        assert_eq!(how(&[pass()]), None);
        assert_eq!(how(&[pass(), pass(), pass()]).unwrap(), "3 PASS");
        assert_eq!(how(&[miss(), pass()]).unwrap(), "MISS, then PASS");
        assert_eq!(
            how(&[pass(), pass(), miss(), interrupted()]).unwrap(),
            "2 PASS, then MISS, then interrupted"
        );
        let many: Vec<_> = (0..1000).map(|n| if n % 2 == 0 { pass() } else { miss() }).collect();
        assert!(how(&many).unwrap().ends_with("MISS, then 992 changes more"));
    }
}
