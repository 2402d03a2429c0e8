//! Programs of the user's, in the guest and then in the host.

use super::*;
use s2lab_protocol::ask::{InHost, ProgramEnd, ProgramPut, ProgramRun, PutProgram, RunProgram};

/// The n-th program ends like this.
fn ends(name: &'static str, end: ProgramEnd, output: &str) -> Row {
    let hex = data_encoding::HEXLOWER.encode(output.as_bytes());
    answers(name, Act::answer::<InHost<RunProgram>>(&ProgramRun { end, hex }))
}

/// The program in the guest is answered like this.
fn answers(name: &'static str, act: Act) -> Row {
    fault(name, request("run-program"), act).running_programs()
}

pub(super) fn programs() -> Vec<Row> {
    vec![
        good("programs-that-exit-with-0").running_programs(),
        ends("program-fails", ProgramEnd::Exit(1), "no memory\n").judged("FAIL", "exit code 1"),
        ends("program-dies", ProgramEnd::Signal(11), "").judged("FAIL", "killed by signal 11"),
        ends("program-hangs", ProgramEnd::Timeout, "").judged("FAIL", "no end within 1s, and killed"),
        ends("program-floods", ProgramEnd::Flood, "x").judged("FAIL", "more than 96K of output"),
        ends("program-is-stuck", ProgramEnd::Stuck, "").judged("FAIL", "stuck in the kernel"),
        ends("program-does-not-start", ProgramEnd::NotStarted("ENOEXEC".into()), "")
            .judged("FAIL", "not started: ENOEXEC"),
        ends("program-prints-garbage", ProgramEnd::Exit(0), "\u{1b}]0;x\u{7}<script>\0\u{202e}\n"),
        ends("test-is-not-ok", ProgramEnd::Exit(0), "1..1\nnot ok 1 map\n")
            .judged("FAIL", "test map of repro in g0"),
        ends("tests-are-missing", ProgramEnd::Exit(0), "1..2\nok 1 map\n")
            .judged("FAIL", "2 results, as planned"),
        ends("program-skips", ProgramEnd::Exit(4), "1..0 # SKIP no device\n")
            .judged("SKIP(repro skips: no device)", "repro skips: no device"),
        answers("program-never-answered", Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`run a program`")
            .after(Deadline::Request),
        answers(
            "program-ends-its-guest",
            Act::GuestEnds(GuestEnd::Exited { code: Some(1), signal: None, detail: String::new() }),
        )
        .stops("MISS", Stage::Steps, "guest g0 ended"),
        answers(
            "output-of-a-program-that-is-not-hexadecimal",
            Act::answer::<InHost<RunProgram>>(&ProgramRun { end: ProgramEnd::Exit(0), hex: "0x".into() }),
        )
        .stops("MISS", Stage::Steps, "not hexadecimal"),
        answers(
            "output-of-a-program-that-is-too-long",
            Act::answer::<InHost<RunProgram>>(&ProgramRun {
                end: ProgramEnd::Exit(0),
                hex: "00".repeat(RunProgram::MOST_OUTPUT + 1),
            }),
        )
        .stops("MISS", Stage::Steps, "the output is longer than a program's may be"),
        fault(
            "program-of-another-size",
            request("put-program"),
            Act::answer::<InHost<PutProgram>>(&ProgramPut { size: 1 }),
        )
        .running_programs()
        .stops("MISS", Stage::Steps, "the program has another size"),
    ]
}
