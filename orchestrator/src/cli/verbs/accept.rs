//! `s2lab accept`: a person has read the reports and agrees.

use crate::cli::{
    context::Context, context::own_lab, exit, failure::Failure, render::say, shared::judged::Judged,
    shared::runs::open,
};
use crate::{
    lab::shown,
    review::{Standing, accept as write},
};
use clap::Args;
use s2lab_model::{plan::Key, report::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keys of the cells to accept; default: all of the run
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// A run's folder or its name; default: the latest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

pub(crate) fn accept(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let reports = own_lab(context, "nothing can be accepted")?.reports();
    let judged = Judged::read(&open(context, arguments.run.as_deref())?)?;
    let standings = judged.standings(&reports);
    for key in &arguments.keys {
        if !standings.contains_key(key.as_str()) {
            let near = s2lab_model::diagnostic::suggest(key, standings.keys().map(Key::as_str));
            return Err(Failure::Usage { message: format!("the run has no cell `{key}`"), hint: Some(near) });
        }
    }
    let chosen =
        |key: &Key| arguments.keys.is_empty() || arguments.keys.iter().any(|chosen| *key == **chosen);
    let mut refused = false;
    for (key, standing) in standings.iter().filter(|(key, _)| chosen(key)) {
        match (standing, judged.reports.get(key)) {
            (Standing::Compared(Outcome::Same), _) => say(&format!("{key}: as accepted"))?,
            (Standing::Missing { why }, _) => {
                refused = true;
                say(&format!("{key}: not accepted, {why}"))?;
            }
            (_, Some(report)) => {
                let path = write(&reports, key, &report.text())?;
                say(&format!("{key}: accepted, {}", shown(&path)))?;
            }
            (_, None) => {}
        }
    }
    Ok(if refused { exit::LAB } else { exit::FINE })
}
