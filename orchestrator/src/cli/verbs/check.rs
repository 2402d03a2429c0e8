//! `s2lab check`: a run's reports against the accepted ones.

use crate::cli::{
    context::Context, exit, failure::Failure, render::say, shared::judged::Judged, shared::runs::open,
};
use crate::{
    lab::scenarios,
    review::{Standing, orphans},
};
use clap::Args;
use s2lab_model::{escape::plain, plan::Key, report::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name; default: the latest
    run: Option<String>,
}

pub(crate) fn check(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let judged = Judged::read(&open(context, arguments.run.as_deref())?)?;
    let mut standings = judged.standings(&lab.reports());
    let kernels = lab.kernels()?;
    let names = scenarios(&lab.scenario_files()?)?;
    let known = names
        .iter()
        .flat_map(|scenario| {
            kernels.entries.keys().filter_map(|kernel| Key::of(&scenario.scenario, kernel, []).ok())
        })
        .collect();
    for key in orphans(&lab.reports(), &known)? {
        standings.entry(key).or_insert(Standing::Orphaned);
    }
    let width = standings.keys().map(|key| key.as_str().len()).max().unwrap_or_default();
    for (key, standing) in &standings {
        let (word, more) = words(standing);
        say(plain(&format!("{word:<15} {key:<width$}  {more}")).trim_end())?;
        if let Standing::Compared(Outcome::Changed { diff }) = standing {
            say(plain(diff).trim_end())?;
        }
    }
    Ok(if standings.values().all(Standing::is_fine) { exit::FINE } else { exit::DIFFERENT })
}

fn words(standing: &Standing) -> (&'static str, String) {
    match standing {
        Standing::Compared(Outcome::Same) => ("same", String::new()),
        Standing::Compared(Outcome::ShapeMoved { note, .. }) => ("shape moved", note.clone()),
        Standing::Compared(Outcome::Changed { .. }) => ("changed", String::new()),
        Standing::Compared(Outcome::NotComparable(facts)) => {
            let facts: Vec<_> = facts.iter().map(ToString::to_string).collect();
            ("not comparable", facts.join("; "))
        }
        Standing::New => ("new", "accept it with `s2lab accept`".into()),
        Standing::Missing { why } => ("missing", why.clone()),
        Standing::Unreadable { why } => ("unreadable", why.clone()),
        Standing::Orphaned => ("orphaned", "the lab has no such cell; remove the file".into()),
    }
}
