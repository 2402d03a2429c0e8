//! Comparisons of made-up runs.

use super::*;
use crate::event::{Attempts, Event, Line, SessionId, Stage, StopCause};
use crate::judge::fixture::{KEY, Story, elsewhere};
use crate::judge::{JudgedRun, judge_run};
use crate::plan::Key;
use crate::record::{LogError, Run};
use crate::verdict::Verdict;

const OTHER: &str = "vfio-pci-bar@other";
const ITSELF: &str = "vfio-pci-bar@test+compare=second";

/// Returns a boot whose least sample has this time, in nanoseconds.
fn boot(least: u64) -> Story {
    Story::measuring(&[9 * least, least + 40, least, least + 80])
}

/// Returns the log of a comparison of the cell [`KEY`] with the cell `second`. `boots` are in the order
/// of the log.
fn lines(second: &str, boots: &[Story]) -> Vec<Line> {
    let of_plan = boot(1000);
    let keys: [Key; 2] = [KEY.parse().unwrap(), second.parse().unwrap()];
    let compare = Compare { first: keys[0].clone(), second: keys[1].clone(), pairs: 7 };
    let mut plan = of_plan.lines().remove(0);
    let Event::Plan(planned) = &mut plan.event else { panic!("the plan") };
    let mut other = planned.cells[0].clone();
    (other.key, other.kernel) = (keys[1].clone(), keys[1].kernel().into());
    planned.cells.push(other);
    let order: Vec<_> = (0..compare.pairs).flat_map(|pair| compare.keys(pair).map(Key::clone)).collect();
    planned.compare = Some(compare);
    let mut lines = vec![plan];
    for ((story, key), session) in boots.iter().zip(&order).zip(1..) {
        lines.extend(elsewhere(&story.lines(), key, session as SessionId));
    }
    lines.push(Line::new(0, 0, None, None, Event::RunEnded));
    lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
    lines
}

fn judged(second: &str, boots: &[Story]) -> JudgedRun {
    let pages = boot(1000).pages;
    judge_run(Run::fold(lines(second, boots)).unwrap(), &|digest: &str| pages.get(digest).cloned())
}

/// Returns the stories of these times, which are those of the first and the second kernel of each pair, in
/// the order ABBA.
fn abba(times: &[(u64, u64)]) -> Vec<Story> {
    let ordered = |(pair, (first, second)): (usize, &(u64, u64))| match pair % 2 {
        0 => [*first, *second],
        _ => [*second, *first],
    };
    times.iter().enumerate().flat_map(ordered).map(boot).collect()
}

const SLOWER: [(u64, u64); 7] =
    [(1000, 1100), (1020, 1110), (980, 1090), (1010, 1080), (990, 1120), (1030, 1100), (1000, 1070)];

#[test]
fn two_kernels_are_compared_boot_by_boot() {
    let run = judged(OTHER, &abba(&SLOWER));
    let comparison = run.comparison.unwrap();
    let [measure] = &comparison.measures[..] else { panic!("one measure") };
    assert_eq!((measure.step, &*measure.name, &measure.boots[..]), (0, "x", &SLOWER[..]));
    assert_eq!(measure.paired, Paired::of(&SLOWER));
    assert_eq!(measure.medians(), Some((1000, 1100)));
    assert_eq!((comparison.decision, run.exit, comparison.emulated), (Some(Decision::Different), 5, true));
    assert_eq!((comparison.counted, comparison.counts), (0, vec![]));
}

/// Each side is a cell of its own. In every second pair they change places.
#[test]
fn a_kernel_is_compared_with_itself() {
    let run = judged(ITSELF, &abba(&SLOWER));
    assert_eq!((run.cells.len(), run.cells[0].attempts.len(), run.exit), (2, 7, 5));
    assert_eq!(run.comparison.unwrap().measures[0].boots, SLOWER);
    let alike = [1000, 1010, 990, 1005, 1000, 1002, 998].map(|time| (time, 1000));
    let run = judged(ITSELF, &abba(&alike));
    assert_eq!((run.comparison.unwrap().decision, run.exit), (Some(Decision::Same), 0));
    let wild = [1000, 1010, 1500, 1005, 700, 1002, 1300].map(|time| (time, 1000));
    let run = judged(ITSELF, &abba(&wild));
    assert_eq!((run.comparison.unwrap().decision, run.exit), (Some(Decision::Inconclusive), 4));
}

/// A boot that does not pass has no number, and the run exits as any other run.
#[test]
fn a_boot_that_does_not_pass_ends_the_comparison() {
    let mut boots = abba(&SLOWER);
    boots[4] = boots[4].clone().stopped(StopCause::Kernel);
    boots.truncate(5);
    let run = judged(OTHER, &boots);
    let verdicts: Vec<_> = run.cells.iter().map(|cell| cell.verdict.clone().unwrap()).collect();
    assert!(matches!(&verdicts[..], [Verdict::Flaky, Verdict::Pass { .. }]), "{verdicts:?}");
    let comparison = run.comparison.unwrap();
    assert_eq!((comparison.decision, run.exit), (None, 1));
    assert_eq!(comparison.measures[0].boots, SLOWER[..2], "the boots before it are shown");
}

/// The end of the run is in the log, and boots are missing all the same.
#[test]
fn a_comparison_with_fewer_boots_than_planned_decides_nothing() {
    let boots = abba(&SLOWER);
    let run = judged(OTHER, &boots[..12]);
    assert!(run.cells.iter().all(|cell| cell.verdict.as_ref().is_some_and(Verdict::passed)));
    assert_eq!((run.comparison.unwrap().decision, run.exit), (None, 3));
}

#[test]
fn the_lab_makes_boots_until_one_does_not_pass() {
    let course = Attempts::Boots(7);
    let mut run = judged(OTHER, &abba(&SLOWER));
    let mut done = std::mem::take(&mut run.cells[0].attempts);
    assert!(!crate::judge::another(course, &done));
    done.truncate(6);
    assert!(crate::judge::another(course, &done));
    done[5].judgement.verdict = Some(Verdict::Timeout(Stage::Steps));
    assert!(!crate::judge::another(course, &done));
}

#[test]
fn a_plan_has_the_cells_that_it_compares_and_no_others() {
    let refused = |change: &dyn Fn(&mut Compare)| {
        let mut lines = lines(OTHER, &[]);
        let Event::Plan(plan) = &mut lines[0].event else { panic!("the plan") };
        change(plan.compare.as_mut().unwrap());
        let text: String =
            lines.iter().map(|line| format!("{}\n", serde_json::to_string(line).unwrap())).collect();
        Run::read(&text).err()
    };
    assert_eq!(refused(&|_| ()), None);
    assert!(
        matches!(refused(&|of| of.pairs = 6), Some(LogError::Compare { why }) if why.starts_with("6 pairs"))
    );
    assert!(matches!(refused(&|of| of.pairs = 17), Some(LogError::Compare { .. })));
    let other = |of: &mut Compare| of.second = "vfio-pci-bar@third".parse().unwrap();
    assert!(matches!(refused(&other), Some(LogError::Compare { why }) if why.contains("other")));
    let same = |of: &mut Compare| of.second = of.first.clone();
    assert!(matches!(refused(&same), Some(LogError::Compare { .. })), "a cell that is not compared");
}

#[test]
fn a_scenario_has_numbers_if_it_measures_or_counts() {
    let mut cell = boot(1000).cell.resolved;
    assert!(has_numbers(&cell));
    cell.steps.remove(0);
    assert!(!has_numbers(&cell));
    cell.host.devices.values_mut().for_each(|device| device.count = true);
    assert!(has_numbers(&cell));
}
