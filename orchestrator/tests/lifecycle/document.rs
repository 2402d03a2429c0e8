//! `docs/faults.md`, made from the table.

use crate::{
    row::{LIFECYCLE, Module, NOTHING, Row, Within},
    table, whole,
};
use fake_qemu::script::PluginAnswer;
use s2lab::host::deadlines::Deadlines;
use std::{fmt::Write, path::Path};

/// Set to write the document instead of comparing it.
const UPDATE: &str = "S2LAB_UPDATE_DOCS";
/// The longest script that is shown in full, in characters.
const LONGEST: usize = 160;

const HEAD: &str = "# Faults

Made from the table in `orchestrator/tests/lifecycle/table/`, each row of which is a test: `cargo test --test lifecycle`.
A row says what goes wrong (which moment, what happens then; see `orchestrator/fake-qemu/src/script.rs` for the words), what
s2lab must say of the cell, in which stage the cell stops (none: it comes to its end and is judged), and by when. *Soon* is
within ten seconds; otherwise it is the deadline named, and no other. After each row no process may be left.
";

const WHOLE: &str = "
## Whole runs

Runs in a process of their own, from `orchestrator/tests/lifecycle/whole.rs`. Those that say *mounts* need a mount namespace
and are ignored, by their names, on machines that permit none. Real runs are killed at random moments by a trial of its own,
see `CONTRIBUTING.md`.

| fault | what happens | what must hold |
|---|---|---|
";

/// Compares the document with the table.
pub(crate) fn is_the_table() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let due = render();
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&path, due).map_err(|e| e.to_string());
    }
    match std::fs::read_to_string(&path) {
        Ok(found) if found == due => Ok(()),
        Ok(_) => Err(format!("{} is not what the table says; {UPDATE}=1 writes it", path.display())),
        Err(why) => Err(format!("{}: {why}", path.display())),
    }
}

fn render() -> String {
    let mut out = HEAD.to_owned();
    for group in table::groups() {
        let _ = write!(
            out,
            "\n## {}\n\n| fault | what happens | verdict | stage | by when |\n|---|---|---|---|---|\n",
            group.title
        );
        for row in &group.rows {
            let stage = row.stage.map(|stage| stage.to_string()).unwrap_or_default();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {stage} | {} |",
                row.name,
                script(row),
                verdict(row),
                within(row)
            );
        }
    }
    out.push_str(WHOLE);
    for run in whole::RUNS {
        let name = format!("{}{}", run.name, if run.mounts { " (mounts)" } else { "" });
        let _ = writeln!(out, "| {name} | {} | {} |", run.what, run.due);
    }
    out
}

fn verdict(row: &Row) -> String {
    match row.hears {
        Some((witness, said)) => format!("{}; {witness} {said}", row.verdict),
        None => row.verdict.to_owned(),
    }
}

fn script(row: &Row) -> String {
    let troubles = row.script.troubles.iter().map(|trouble| {
        let json = |value| serde_json::to_string(&value).unwrap_or_default();
        let at = json(serde_json::to_value(&trouble.at).unwrap_or_default());
        let act: String = json(serde_json::to_value(&trouble.act).unwrap_or_default());
        let shown: String = act.chars().take(LONGEST).collect();
        let more = if shown.len() < act.len() { " ..." } else { "" };
        format!(
            "{}: `{}{more}`",
            at.replace(['"', '{', '}'], ""),
            shown.replace('`', "'").replace('|', "\\|")
        )
    });
    let mut parts: Vec<_> = troubles.collect();
    if let Some(host) = row.host {
        parts.insert(0, format!("the real agent; {}", host.what));
    }
    match row.config {
        Some(NOTHING) => parts.insert(0, "the kernel's configuration has all options".into()),
        Some(option) => parts.insert(0, format!("the kernel's configuration has all but CONFIG_{option}")),
        None => {}
    }
    match row.script.plugin {
        Some(PluginAnswer::Taken) => parts.insert(0, "QEMU takes the plugin".into()),
        Some(PluginAnswer::TakenByTheNewest) => {
            parts.insert(0, "QEMU takes the plugin by the newest interface alone".into());
        }
        Some(PluginAnswer::Refused) => parts.insert(0, "QEMU refuses the plugin".into()),
        None => {}
    }
    if row.counts {
        parts.insert(0, "a scenario that counts".into());
    }
    if row.scenario != LIFECYCLE {
        parts.insert(0, format!("the scenario `{}`", row.scenario.0));
    }
    match row.module {
        Module::Built => {}
        Module::None => parts.insert(0, "a kernel that is not built here".into()),
        Module::Failed => parts.insert(0, "a module that does not build".into()),
    }
    if row.vcpus > 1 {
        parts.insert(0, "a guest with two vCPUs".into());
    }
    if !row.script.series {
        parts.insert(0, "a kernel without the series".into());
    }
    parts.join("; ")
}

fn within(row: &Row) -> String {
    match row.within {
        Within::Soon => "soon".into(),
        Within::After(deadline) => {
            format!("{deadline}, {} s", Deadlines::default().of(deadline).as_secs())
        }
    }
}
