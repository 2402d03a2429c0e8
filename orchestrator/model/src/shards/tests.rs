use super::*;
use crate::event::{CellEnd, Event, Line, Place, PlannedCell, Stage, StopCause};
use crate::hash::digest;
use crate::judge::fixture::Story;
use crate::plan::Key;
use crate::record::Run;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

/// A story, which is made once: it has page tables.
fn story() -> &'static Story {
    static STORY: OnceLock<Story> = OnceLock::new();
    STORY.get_or_init(Story::after)
}

/// The cell of the story under other keys. Kernels whose names begin with `built` are built.
fn cells(keys: &[&str]) -> Vec<PlannedCell> {
    let of = |key: &&str| {
        let key: Key = key.parse().unwrap();
        PlannedCell { kernel: key.kernel().to_owned(), key, ..story().cell.clone() }
    };
    keys.iter().map(of).collect()
}

fn known(times: &[(&str, u64)]) -> BTreeMap<Key, Duration> {
    times.iter().map(|(key, seconds)| (key.parse().unwrap(), Duration::from_secs(*seconds))).collect()
}

fn plan_of(cells: &[PlannedCell], durations: &BTreeMap<Key, Duration>) -> PlanFile {
    let kernel = |cell: &PlannedCell| {
        let is_built = cell.kernel.starts_with("built");
        let digest = digest(cell.kernel.as_bytes());
        (cell.kernel.clone(), KernelIdentity { digest, origin: None, is_built })
    };
    PlanFile::new(Inputs {
        s2lab: "0.1.0",
        selection: vec![],
        guest: digest(b"guest"),
        kernels: cells.iter().map(kernel).collect(),
        cells,
        durations,
    })
}

fn number(text: &str) -> ShardNumber {
    text.parse().unwrap()
}

fn keys(plan: &PlanFile, shard: &str) -> Vec<String> {
    plan.part(number(shard)).iter().map(|cell| cell.cell.key.to_string()).collect()
}

#[test]
fn a_shard_is_one_of_its_number() {
    assert_eq!(number("2/3").to_string(), "2/3");
    for text in ["", "1", "/", "1/", "/1", "0/3", "4/3", "0/0", "-1/3", "+1/3", "1/3/3", "1/10001", "a/b"] {
        assert!(text.parse::<ShardNumber>().is_err(), "{text}");
    }
    assert_eq!(
        "4/3".parse::<ShardNumber>().unwrap_err().to_string(),
        "there is no shard 4 of 3: shards count from 1"
    );
}

#[test]
fn cells_of_a_built_kernel_stay_together() {
    let cells = cells(&["a@built", "a@other", "b@built", "b@other", "c@built"]);
    let plan = plan_of(&cells, &known(&[]));
    let groups: Vec<_> = plan.groups.iter().map(|group| (group.name.as_str(), group.shares)).collect();
    let boot = Shared::Boot;
    assert_eq!(groups, [("built", Shared::Build), ("a@other", boot), ("b@other", boot)]);
    assert_eq!(plan.groups[0].ms, plan.kernels["built"].build.unwrap().ms + 3 * plan.cells[0].expected.ms);
    assert_eq!(keys(&plan, "1/2"), ["a@built", "b@built", "c@built"]);
    assert_eq!(keys(&plan, "2/2"), ["a@other", "b@other"]);
    assert_eq!(keys(&plan, "5/5"), Vec::<String>::new());
}

#[test]
fn an_unknown_duration_is_that_of_its_relatives() {
    let cells = cells(&["a@k", "a@l", "b@l", "c@l"]);
    let times = |known: &[(&str, u64)]| {
        let plan = plan_of(&cells, &self::known(known));
        plan.cells.iter().map(|cell| (cell.expected.ms / 1000, cell.expected.from)).collect::<Vec<_>>()
    };
    assert!(times(&[]).iter().all(|time| *time == (60, From::Assumed)));
    let known = [("a@k", 10), ("b@m", 20), ("b@n", 40), ("b@o", 30), ("b@p", 70)];
    let due = [(10, From::History), (10, From::Scenario), (40, From::Scenario), (40, From::All)];
    assert_eq!(times(&known), due);
}

#[test]
fn a_plan_is_its_text() {
    let plan = plan_of(&cells(&["a@built", "a@k"]), &known(&[("a@k", 7)]));
    assert_eq!(PlanFile::load(&plan.text()).as_ref(), Ok(&plan));
    assert_eq!(plan.digest(), plan_of(&cells(&["a@built", "a@k"]), &known(&[("a@k", 7)])).digest());
    let refused = |from: &str, to: &str| {
        assert!(plan.text().contains(from), "{from}");
        PlanFile::load(&plan.text().replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert_eq!(refused("\"format\": 1", "\"format\": 2"), "it has the form 2; this s2lab reads 1");
    assert_eq!(refused("\"group\": 1", "\"group\": 2"), "it is damaged: the cell a@k has no group");
    let digest = &plan.cells[1].digest;
    let twice = plan.text().replace("a@k", "a@built").replace("\"k\"", "\"built\"");
    let twice = PlanFile::load(&twice).unwrap_err().to_string();
    assert_eq!(twice, "it is damaged: the cell a@built is there twice");
    assert!(refused(digest, "0").contains("does not have its digest"));
    assert!(refused("\"kernels\": {\n", "\"kernels\": [\n").starts_with("not a plan: "));
    assert!(PlanFile::load("").unwrap_err().to_string().starts_with("not a plan: "));
}

#[test]
fn another_checkout_is_named() {
    let plan = plan_of(&cells(&["a@k", "b@k"]), &known(&[]));
    let differs = |change: &dyn Fn(&mut PlanFile)| {
        let mut here = plan_of(&cells(&["a@k", "b@k"]), &known(&[("a@k", 7)]));
        change(&mut here);
        plan.differs_from(&here).map(|difference| difference.to_string())
    };
    assert_eq!(differs(&|_| ()), None, "durations may differ");
    let s2lab = differs(&|here| here.s2lab = "0.2.0".into());
    assert_eq!(s2lab.as_deref(), Some("it was made by s2lab 0.1.0, and this is 0.2.0"));
    let cell = differs(&|here| here.cells[1].cell.resolved.expect.clear());
    assert_eq!(cell.as_deref(), Some("the cell b@k is another one here"));
    assert_eq!(differs(&|here| drop(here.cells.pop())).as_deref(), Some("it has 2 cells, and here are 1"));
    let kernel = differs(&|here| here.kernels.get_mut("k").unwrap().digest.clear());
    assert_eq!(kernel.as_deref(), Some("the kernel k is another one here"));
    assert_eq!(
        differs(&|here| here.guest.clear()).as_deref(),
        Some("the guests' kernel is another one here")
    );
}

/// The log of a run of `cells`, each with its own session.
fn log(cells: &[PlannedCell], shard: Option<Shard>) -> Vec<Line> {
    let story = story();
    let mut all: Vec<Line> = vec![story.lines().remove(0)];
    let Event::Plan(plan) = &mut all[0].event else { panic!("no plan") };
    (plan.cells, plan.shard) = (cells.to_vec(), shard.map(Box::new));
    for (cell, session) in cells.iter().zip(0..) {
        let lines = story.lines();
        for mut line in lines[1..lines.len() - 1].iter().cloned() {
            line.session = line.session.map(|_| session);
            line.cell = line.cell.map(|_| cell.key.clone());
            if let Event::CellStarted { session: of, .. } = &mut line.event {
                *of = Some(session);
            }
            all.push(line);
        }
    }
    all.push(story.lines().pop().unwrap());
    for (line, seq) in all.iter_mut().zip(0..) {
        (line.seq, line.ms) = (seq, seq);
    }
    all
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

/// The log without its times.
fn timeless(text: &str) -> Vec<Line> {
    let lines = crate::record::lines(text).unwrap();
    lines.into_iter().map(|line| Line { ms: 0, ..line }).collect()
}

const KEYS: [&str; 5] = ["a@k", "b@k", "c@k", "d@k", "e@k"];

fn whole() -> PlanFile {
    static WHOLE: OnceLock<PlanFile> = OnceLock::new();
    WHOLE.get_or_init(|| plan_of(&cells(&KEYS), &known(&[]))).clone()
}

/// The lines of a shard's log.
fn shard(index: u32, of: u32) -> Vec<Line> {
    let number = ShardNumber::new(index, of).unwrap();
    let part: Vec<_> = whole().part(number).into_iter().map(|cell| cell.cell.clone()).collect();
    log(&part, Some(Shard::new(number, whole())))
}

fn part(name: &str, lines: &[Line]) -> Part {
    Part::read(name, &text(lines)).unwrap()
}

fn merged(parts: &[Vec<Line>]) -> Merged {
    let parts: Vec<_> = parts.iter().map(|lines| part("run", lines)).collect();
    merge(&parts, Some(&whole())).unwrap()
}

#[test]
fn the_shards_make_the_log_of_one_run() {
    let unsharded = text(&log(&cells(&KEYS), None));
    for of in [1, 2, 3, 5, 7] {
        let parts: Vec<_> = (1..=of).rev().map(|index| shard(index, of)).collect();
        let merged = merged(&parts);
        assert_eq!(timeless(&merged.log), timeless(&unsharded), "{of}");
        assert_eq!((merged.missing, merged.sources.len()), (vec![], KEYS.len()));
    }
}

/// Makes all cells of a log share the boot of the first.
fn in_one_boot(mut lines: Vec<Line>) -> Vec<Line> {
    let (begin, last) = (Some(0), lines.iter().filter_map(|line| line.session).max());
    lines.retain(|line| match (line.session, &line.event) {
        (Some(_), Event::HostDown { .. } | Event::SessionEnded) => line.session == last,
        (Some(_), _) => line.session == begin,
        _ => true,
    });
    let mut before: Vec<Key> = vec![];
    for (line, seq) in lines.iter_mut().zip(0..) {
        line.seq = seq;
        line.session = line.session.and(begin);
        if let Event::CellStarted { session, place } = &mut line.event {
            let number = before.len().try_into().unwrap();
            (*session, *place) = (begin, Some(Place { before: number, after: before.last().cloned() }));
            before.extend(line.cell.clone());
        }
    }
    lines
}

#[test]
fn cells_that_share_a_boot_share_it_in_the_merged_log() {
    let parts = [in_one_boot(shard(2, 2)), in_one_boot(shard(1, 2))];
    let merged = merged(&parts);
    assert_eq!(merged.missing, []);
    let run = Run::read(&merged.log).unwrap();
    let place = |at: usize| run.cells[at].attempts[0].environment().variable["session"].clone();
    let places: Vec<_> = (0..KEYS.len()).map(place).collect();
    assert_eq!(
        places,
        [
            "boot 1, its first cell",
            "boot 2, its first cell",
            "boot 1, its cell 2, after a@k",
            "boot 2, its cell 2, after b@k",
            "boot 1, its cell 3, after c@k"
        ]
    );
    let pages = &story().pages;
    let judged = crate::judge::judge_run(run, &|digest: &str| pages.get(digest).cloned());
    assert_eq!(judged.exit, 0);
    // A shard that ends in its second cell: the first is whole, and the third never comes.
    let mut cut = in_one_boot(shard(1, 2));
    let of = |line: &Line, key: &str| line.cell.as_ref().is_some_and(|cell| cell.as_str() == key);
    let second = cut.iter().rposition(|line| of(line, "c@k")).unwrap();
    cut.truncate(second);
    cut.push(Line::new(cut.len() as u64, 0, None, None, Event::Interrupted { signal: "SIGTERM".into() }));
    let signal = |key: &str| format!("{key}: SIGTERM ended shard 1/2 before this cell had a result");
    assert_eq!(missing(&[cut, in_one_boot(shard(2, 2))]), (vec![signal("c@k"), signal("e@k")], 3));
}

#[test]
fn times_count_from_the_first_shard() {
    let (mut first, mut second) = (part("a", &shard(1, 2)), part("b", &shard(2, 2)));
    (first.late_ms, second.late_ms) = (10_000, 0);
    let log = merge(&[first, second], None).unwrap().log;
    let run = Run::read(&log).unwrap();
    let started: Vec<_> = run.cells.iter().map(|cell| cell.attempts[0].started_ms >= 10_000).collect();
    assert_eq!(started, [true, false, true, false, true]);
}

/// Returns the missing keys and why, and the exit code of the run.
fn missing(parts: &[Vec<Line>]) -> (Vec<String>, u8) {
    let merged = merged(parts);
    let pages = &story().pages;
    let run = Run::read(&merged.log).unwrap();
    let judged = crate::judge::judge_run(run, &|digest: &str| pages.get(digest).cloned());
    let miss = judged.cells.iter().filter(|cell| cell.verdict == Some(crate::verdict::Verdict::Miss));
    let named: Vec<_> = merged.missing.iter().map(|cell| cell.key.clone()).collect();
    assert_eq!(miss.map(|cell| cell.planned.key.clone()).collect::<Vec<_>>(), named);
    let lines = merged.missing.iter().map(|cell| format!("{}: {}", cell.key, cell.why));
    (lines.collect(), judged.exit)
}

#[test]
fn what_never_came_is_missed_by_name() {
    assert_eq!(missing(&[shard(1, 2), shard(2, 2)]), (vec![], 0));
    let never = |key: &str| format!("{key}: shard 2/2 never came");
    assert_eq!(missing(&[shard(1, 2)]), (vec![never("b@k"), never("d@k")], 3));
    // A kill in the second cell of the first shard: it is LOST, and the third never came.
    let mut killed = shard(1, 2);
    let of = |line: &Line, key: &str| line.cell.as_ref().is_some_and(|cell| cell.as_str() == key);
    let second = killed.iter().rposition(|line| of(line, "c@k")).unwrap();
    killed.truncate(second - 1);
    let ended = "e@k: shard 1/2 ended before this cell had a result".to_owned();
    assert_eq!(missing(&[killed.clone(), shard(2, 2)]), (vec![ended], 3));
    // The same with a signal that s2lab has handled.
    let (stage, cause) = (Stage::Steps, StopCause::Interrupted);
    let end = CellEnd::Stopped { stage, cause, what: "interrupted".into(), hint: None };
    let key: Key = "c@k".parse().unwrap();
    let more =
        [(Some(&key), Event::CellEnded { end }), (None, Event::Interrupted { signal: "SIGTERM".into() })];
    for (cell, event) in more {
        killed.push(Line::new(killed.len() as u64, 0, None, cell, event));
    }
    let signal = |key: &str| format!("{key}: SIGTERM ended shard 1/2 before this cell had a result");
    assert_eq!(missing(&[killed.clone(), shard(2, 2)]), (vec![signal("c@k"), signal("e@k")], 3));
    // The end of a cell alone is enough.
    killed.pop();
    let ended = |key: &str| format!("{key}: shard 1/2 ended before this cell had a result");
    assert_eq!(missing(&[killed, shard(2, 2)]), (vec![ended("c@k"), ended("e@k")], 3));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let refused = |parts: &[Vec<Line>], plan: Option<&PlanFile>| {
        let named = parts.iter().zip(["x", "y", "z"]).map(|(lines, name)| Part::read(name, &text(lines)));
        let parts: Result<Vec<_>, _> = named.collect();
        parts.and_then(|parts| merge(&parts, plan)).unwrap_err().to_string()
    };
    let plan = |lines: &mut Vec<Line>, change: &dyn Fn(&mut crate::event::Plan)| {
        let Event::Plan(plan) = &mut lines[0].event else { panic!("no plan") };
        change(plan);
    };
    assert_eq!(refused(&[], None), "no run is given");
    let twice = refused(&[shard(1, 2), shard(2, 2), shard(2, 2)], None);
    assert_eq!(twice, "the cell b@k is in z and in y, both shard 2/2");
    let split = refused(&[shard(1, 2), shard(2, 3)], None);
    assert_eq!(split, "y is shard 2/3, and x is shard 1/2: a plan has one split");
    assert_eq!(refused(&[log(&cells(&KEYS), None)], None), "x is not the run of a shard");
    let other = plan_of(&cells(&KEYS[..4]), &known(&[]));
    let than = refused(&[shard(1, 2)], Some(&other));
    assert!(than.starts_with("x is of the plan ") && than.ends_with(&other.digest()), "{than}");
    let mut of_other = shard(2, 2);
    plan(&mut of_other, &|plan| plan.shard = Some(Box::new(Shard::new(number("2/2"), other.clone()))));
    assert!(refused(&[shard(1, 2), of_other], None).starts_with("y is of the plan "));
    let mut foreign = shard(1, 2);
    plan(&mut foreign, &|plan| plan.shard = Some(Box::new(Shard::new(number("2/2"), whole()))));
    assert_eq!(refused(&[foreign], None), "x has the cell a@k, which is not one of shard 2/2");
    let mut changed = shard(1, 2);
    plan(&mut changed, &|plan| plan.shard.as_mut().unwrap().whole.guest.clear());
    assert_eq!(refused(&[changed], None), "x: the plan in its log is damaged: it does not have its digest");
    let mut repeated = shard(2, 2);
    plan(&mut repeated, &|plan| plan.attempts = crate::event::Attempts::Repeat(2));
    assert_eq!(refused(&[shard(1, 2), repeated], None), "y and x differ in --repeat or --retry");
    let mut s2lab = shard(1, 2);
    plan(&mut s2lab, &|plan| plan.s2lab = "0.2.0".into());
    assert_eq!(refused(&[s2lab], None), "x: the plan in its log is damaged: another s2lab has run it");
    let mut newer = shard(1, 2);
    newer[3].v = "2.99".to_owned().try_into().unwrap();
    assert_eq!(refused(&[newer], None), "x: version 2.99 of the event log is newer than this s2lab");
}

/// Groups of cells with their durations.
fn durations() -> impl Strategy<Value = Vec<(bool, u64)>> {
    prop::collection::vec((any::<bool>(), 0..5_000u64), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_group_is_whole_in_one_shard(times in durations(), of in 1..12u32) {
        let named: Vec<String> = times.iter().enumerate()
            .map(|(n, (built, _))| format!("s{n}@{}", if *built { format!("built{}", n % 4) } else { "k".into() }))
            .collect();
        let cells = cells(&named.iter().map(String::as_str).collect::<Vec<_>>());
        let known = named.iter().zip(&times).map(|(key, (_, time))| (key.parse().unwrap(), Duration::from_secs(*time)));
        let plan = plan_of(&cells, &known.collect());
        let shards: Vec<_> = (1..=of).map(|index| plan.part(ShardNumber::new(index, of).unwrap())).collect();
        let mut all: Vec<_> = shards.iter().flatten().map(|cell| &cell.cell.key).collect();
        prop_assert_eq!(all.len(), cells.len());
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), cells.len());
        for (at, shard) in shards.iter().enumerate() {
            let groups: BTreeSet<_> = shard.iter().map(|cell| cell.group).collect();
            let others = shards.iter().enumerate().filter(|(other, _)| *other != at);
            prop_assert!(others.flat_map(|(_, other)| other).all(|cell| !groups.contains(&cell.group)));
            let places = shard.iter().map(|cell| plan.cells.iter().position(|of| of == *cell));
            prop_assert!(places.is_sorted(), "the plan's order");
        }
        // Nobody computes another split.
        let again = PlanFile::load(&plan.text()).unwrap();
        let other: Vec<_> = (1..=of).map(|index| again.part(ShardNumber::new(index, of).unwrap())).collect();
        prop_assert_eq!(&shards, &other);
    }

    #[test]
    fn shards_differ_by_no_more_than_the_longest_group(
        weights in prop::collection::vec(0..10_000u64, 1..60),
        of in 1..12u32,
    ) {
        let shards = split(&weights, of);
        let mut loads = vec![0; of as usize];
        for (shard, weight) in shards.iter().zip(&weights) {
            loads[*shard as usize] += weight;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= *weights.iter().max().unwrap(), "{:?} of {:?}", loads, weights);
    }

    /// Whatever is cut off of a shard's log, nothing passes that did not come.
    #[test]
    fn a_log_that_is_cut_off_is_never_whole(cut in any::<prop::sample::Index>()) {
        let mut killed = shard(1, 2);
        killed.truncate(1 + cut.index(killed.len() - 2));
        let ended = |line: &&Line| matches!(line.event, Event::CellEnded { .. });
        let done = killed.iter().filter(ended).count();
        let merged = merged(&[killed, shard(2, 2)]);
        let run = Run::read(&merged.log).unwrap();
        let complete = run.cells.iter().filter_map(|cell| cell.attempts.last()?.end.as_ref());
        prop_assert_eq!(complete.filter(|end| **end == CellEnd::Complete).count(), done + 2);
    }
}
