//! Comparisons: the order of their boots, and their early end.

use crate::{
    attempts::done,
    lab::{CELL, Checked, NONE, Order, Part, RUN, expect},
};
use s2lab_model::{
    comparison::{Compare, Decision, FEWEST_PAIRS},
    event::Event,
    judge::{JudgedCell, endings},
    record::lines,
};

fn compare(first: &str, second: &str) -> Result<Option<Compare>, String> {
    let key = |key: &str| key.parse().map_err(|_| format!("{key} is not a key"));
    Ok(Some(Compare { first: key(first)?, second: key(second)?, pairs: FEWEST_PAIRS }))
}

fn ends(cell: &JudgedCell) -> Option<String> {
    endings(cell.verdicts())
}

/// The scripted guest's stores take the same time in every boot.
pub(crate) fn compared() -> Checked {
    let (first, second) = ("lifecycle@fake+n=0", "lifecycle@fake+n=1");
    let order = Order {
        compare: compare(first, second)?,
        part: Some(Part { cells: 2, shard: None }),
        ..Order::default()
    };
    let (lab, run) = done(&order)?;
    let log = std::fs::read_to_string(lab.folder.path().join(RUN).join("events.jsonl"));
    let begun = lines(&log.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let begun = begun.iter().filter(|line| matches!(line.event, Event::CellStarted { .. }));
    let boots: String = begun.filter_map(|line| line.cell.as_ref()?.as_str().chars().last()).collect();
    let pairs: Vec<_> = boots.as_bytes().chunks(2).filter(|pair| matches!(*pair, b"01" | b"10")).collect();
    expect("the pairs of boots", (boots.len(), pairs.len()), (14, 7))?;
    expect("attempts", run.cells.iter().map(ends).collect(), vec![Some("7 PASS".to_owned()); 2])?;
    let comparison = run.comparison.as_ref().ok_or("no comparison")?;
    let boots: Vec<_> =
        comparison.measures.iter().map(|measure| (&*measure.name, measure.boots.len())).collect();
    expect("measures", boots, vec![("quick", 7)])?;
    expect("decision", (comparison.decision, run.exit), (Some(Decision::Same), 0))
}

/// Neither cell is booted again after a boot that has no number.
pub(crate) fn ended_by_a_boot() -> Checked {
    for (first, second) in [(CELL, NONE), (NONE, CELL)] {
        let order = Order { compare: compare(first, second)?, none_before: true, ..Order::default() };
        let (_, run) = done(&order)?;
        let attempts: Vec<_> = run.cells.iter().map(|cell| cell.attempts.len()).collect();
        expect("attempts", attempts, vec![1, 1])?;
        let decision = run.comparison.and_then(|comparison| comparison.decision);
        expect("decision", (decision, run.exit), (None, 3))?;
    }
    Ok(())
}
