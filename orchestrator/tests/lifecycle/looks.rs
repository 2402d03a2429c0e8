//! Looks that a person asks for at a host that is kept: what the agent gets, and that the host is
//! kept nevertheless. The agent's console has the text that a person would read.

use crate::{
    harness::left,
    lab::{CELL, Checked, Lab, Order, Person, RUN, expect, soon},
};
use fake_qemu::script::{Act, Moment, Script};
use rustix::process::Signal;
use s2lab_protocol::{Body, Failure, FailureKind, Notice, Peer};
use std::{process::Command, time::Duration};

/// The deadlines of answers and of looks, where they matter.
const PATIENCE: Duration = Duration::from_secs(3);
/// The request for the register with the nonce, x19, which the diagnosis does not read.
const HOLD_REGISTER: &str = "p13";
/// The time after which an answer is late.
const LATE_MS: u64 = 4000;

/// The agent asks for look `id` when it gets the request `at`.
fn asked(script: Script, at: &str, id: u64, guest: Option<&str>) -> Script {
    script.and(request(at), Act::Also(Peer::Host, look(id, guest)))
}

fn look(id: u64, guest: Option<&str>) -> Body {
    Body::Notice(Notice::LookRequested { id, guest: guest.map(str::to_owned) })
}

fn request(kind: &str) -> Moment {
    Moment::Request(kind.into())
}

fn failure(message: &str) -> Failure {
    Failure { kind: FailureKind::System, message: message.into() }
}

fn good() -> Script {
    Script { series: true, ..Script::default() }
}

/// Keeps the host of a cell for a person until its console has all of `texts`, and ends it.
fn answered(script: &Script, patience: Option<Duration>, texts: &[&str]) -> Checked {
    let order = Order { person: Some(Person::Stays), patience, ..Order::default() };
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut lab = Lab::ordered(folder, script, &order, Command::new(program)).map_err(|e| e.to_string())?;
    soon("nothing is kept", || lab.said().contains("it stays until Ctrl-C"))?;
    let console = lab.folder.path().join(RUN).join("cells").join(CELL).join("console.host.log");
    let console = || String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
    let has_all = || texts.iter().all(|text| console().contains(text));
    soon(&format!("no {texts:?}"), has_all).map_err(|why| format!("{why}: {}", console()))?;
    expect("a host", left(lab.folder.path()).is_empty(), false)?;
    lab.signal(Signal::TERM)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let judged = lab.judged()?;
    let verdict = judged.cells.first().and_then(|cell| cell.verdict.as_ref());
    expect("a verdict by which nothing passes", verdict.is_some_and(|verdict| !verdict.passed()), true)
}

pub(crate) fn shown() -> Checked {
    let texts = [
        "look 7: lifecycle@fake  look now  guest g0",
        "look 7: ---[ IPA bits ",
        "Normal-NC      SH inner     nic +0x0..",
        "look 7: ---[ stage 1 of nic mapped wc, BAR 2 at IPA ",
        "effective Normal-NC",
        "look 7: Done",
    ];
    answered(&asked(good(), "probe", 7, None), None, &texts)?;
    answered(&asked(good(), "probe", 7, Some("g0")), None, &texts)
}

pub(crate) fn of_an_unknown_guest() -> Checked {
    let texts = ["look 7: there is no guest `g7`: did you mean `g0`?", "look 7: Failed"];
    answered(&asked(good(), "probe", 7, Some("g7")), None, &texts)
}

/// Without the series the probe ends the guest.
pub(crate) fn of_an_ended_guest() -> Checked {
    let script = asked(Script::default(), "probe", 7, None);
    let texts = ["look 7: no look at guest g0: it has ended: its VMM stopped it", "look 7: Failed"];
    answered(&script, None, &texts)
}

pub(crate) fn of_a_busy_guest() -> Checked {
    let script = asked(good(), "load", 7, None).and(request("load"), Act::Ignore);
    let texts = ["look 7: no look at guest g0: it is busy: it has not answered `load`", "look 7: Failed"];
    answered(&script, Some(PATIENCE), &texts)
}

/// The guest holds, and s2lab gets a failure instead of that answer, so that it ends the cell.
pub(crate) fn of_a_holding_guest() -> Checked {
    let script =
        asked(good(), "hold", 7, None).and(request("hold"), Act::Answer(Err(failure("for the test"))));
    answered(&script, None, &["look 7: lifecycle@fake  look now  guest g0", "look 7: Done"])
}

/// The gdbstub answers one request of a look after the look's deadline. The next look does not take
/// that for an answer of its own.
pub(crate) fn after_a_look_that_was_late() -> Checked {
    let script = asked(good(), "store", 7, None)
        .and(request("store"), Act::Answer(Err(failure("for the test"))))
        .and(Moment::Gdb(HOLD_REGISTER.into()), Act::Wait(LATE_MS));
    let script = script.and(Moment::LookShown, Act::Also(Peer::Host, look(8, None)));
    let texts = [
        "look 7: no look at guest g0: it was not done in 3s",
        "look 7: Failed",
        "look 8: lifecycle@fake  look now  guest g0",
        "look 8: Done",
    ];
    answered(&script, Some(PATIENCE), &texts)
}

/// The person leaves a look that takes long, and asks for another one.
pub(crate) fn of_a_newer_request() -> Checked {
    let script = asked(asked(good(), "probe", 7, None), "show-tables", 8, Some("g0"))
        .and(request("show-tables"), Act::Ignore);
    answered(&script, None, &["look 8: lifecycle@fake  look now  guest g0", "look 8: Done"])
}

/// The agent's answers are no answers: the look ends, and the host stays.
pub(crate) fn with_an_agent_that_lies() -> Checked {
    for act in [Act::Answer(Ok(serde_json::json!(["shown"]))), Act::Close] {
        let script = asked(good(), "probe", 7, None)
            .and(request("show-tables"), act)
            .and(request("show-tables"), Act::Print("asked to show".into()));
        answered(&script, None, &["asked to show"])?;
    }
    Ok(())
}
