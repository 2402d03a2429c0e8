use super::*;
use s2lab_protocol::FailureKind;
use std::time::Instant;

/// More than any of these programs needs.
const LONG: u64 = 60_000;

fn program(folder: &tempfile::TempDir) -> Program {
    fs::create_dir(folder.path().join("run")).unwrap();
    Program::at(Root::at(folder.path()))
}

/// Puts a script in parts, and runs it.
fn run_for(script: &str, args: &[&str], timeout_ms: u64) -> (ProgramEnd, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(&folder);
    let mut offset = 0;
    for part in format!("#!/bin/bash\n{script}").as_bytes().chunks(7) {
        let put = program.put(&PutProgram { offset, hex: hex::encode(part) }).unwrap();
        offset += part.len() as u64;
        assert_eq!(put.size, offset);
    }
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = program.run(&RunProgram { name: "it is".into(), args, timeout_ms }).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0, "something is left");
    (run.end, String::from_utf8(hex::decode(&run.hex).unwrap()).unwrap())
}

fn run(script: &str) -> (ProgramEnd, String) {
    run_for(script, &[], LONG)
}

#[test]
fn a_program_runs_with_its_arguments_in_a_folder_of_its_own() {
    let script = "echo \"$# $1\" \"${0##*/}\"; echo err >&2; cat; ls -A; [ $HOME = $PWD ]; exit 7";
    let (end, output) = run_for(script, &["a b"], LONG);
    assert_eq!(end, ProgramEnd::Exit(7));
    assert_eq!(output, "1 a b it is\nerr\nit is\n");
}

#[test]
fn a_signal_and_a_program_that_cannot_start_are_ends() {
    assert_eq!(run("kill -SEGV $$").0, ProgramEnd::Signal(11));
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(&folder);
    program.put(&PutProgram { offset: 0, hex: hex::encode(b"\x7fELF?") }).unwrap();
    let run = program.run(&RunProgram { name: "x".into(), args: vec![], timeout_ms: LONG }).unwrap();
    assert!(matches!(&run.end, ProgramEnd::NotStarted(why) if why.contains("format")), "{run:?}");
}

#[test]
fn a_program_that_hangs_is_killed_with_its_group() {
    let begin = Instant::now();
    let (end, output) = run_for("sleep 1000 & echo $!; wait", &[], 300);
    assert_eq!(end, ProgramEnd::Timeout);
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert!(ends(output.trim()), "{output}");
}

#[test]
fn the_rest_of_the_group_ends_with_the_program() {
    let (end, output) = run("sleep 1000 & echo $!");
    assert_eq!(end, ProgramEnd::Exit(0));
    assert!(ends(output.trim()), "{output}");
}

/// It has the pipe, and nobody waits for its end.
#[test]
fn a_process_that_leaves_the_group_is_not_waited_for() {
    let begin = Instant::now();
    let (end, output) = run("setsid sleep 30 & echo $!; sleep 0.2");
    assert_eq!((end, begin.elapsed() < Duration::from_secs(20)), (ProgramEnd::Exit(0), true));
    let pid = i32::try_from(output.trim().parse::<u32>().unwrap()).unwrap();
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    );
}

#[test]
fn a_flood_is_bounded() {
    let (end, output) = run("yes");
    assert_eq!((end, output.len()), (ProgramEnd::Flood, RunProgram::MOST_OUTPUT));
    // As much as may be.
    let most = RunProgram::MOST_OUTPUT;
    let (end, output) = run(&format!("head -c {most} /dev/zero"));
    assert_eq!((end, output.len()), (ProgramEnd::Exit(0), most));
    let (end, output) = run(&format!("head -c {} /dev/zero", most + 1));
    assert_eq!((end, output.len()), (ProgramEnd::Flood, most));
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(&folder);
    let long = hex::encode(&vec![0; PutProgram::LONGEST + 1]);
    for (offset, hex) in [(1, "00"), (0, "0"), (0, "0g"), (0, "é"), (0, &long), (PutProgram::LARGEST, "00")]
    {
        let failure = program.put(&PutProgram { offset, hex: hex.into() }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid, "{offset} {hex:.20}");
    }
    for name in ["", ".", "..", "a/b", "a\0"] {
        let ask = RunProgram { name: name.into(), args: vec![], timeout_ms: 1 };
        assert_eq!(program.run(&ask).unwrap_err().kind, FailureKind::Invalid, "{name:?}");
    }
    // Nothing was put.
    let ask = RunProgram { name: "x".into(), args: vec![], timeout_ms: 1 };
    assert_eq!(program.run(&ask).unwrap_err().kind, FailureKind::System);
}

/// Waits until a killed process has ended. A zombie has: nobody waits for the children of a killed
/// shell.
fn ends(pid: &str) -> bool {
    let is_alive = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    let begin = Instant::now();
    while is_alive() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    !is_alive()
}
