//! The end of all children, in a process of its own: it would kill those of other tests.

use rustix::process::{Pid, test_kill_process};
use s2lab_os::child::process::{Launcher, end_all};
use std::{fs, process::Command};

#[tokio::test]
async fn everything_launched_is_gone() {
    let launcher = Launcher::start().unwrap();
    // A shell that asks for nothing, and its child in a session of its own.
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sleep 600 & sleep 600"]);
    let process = launcher.launch(command, vec![]).await.unwrap();
    let pid = Pid::from_raw(process.pid()).unwrap();
    let mark = process.mark().to_owned();
    // Nobody kills it, as where s2lab ends before a task that would.
    std::mem::forget(process);
    end_all().await.unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let environment = fs::read(path.join("environ")).ok()?;
        let found = environment.split(|byte| *byte == 0).any(|variable| variable.ends_with(mark.as_bytes()));
        found.then_some(path)
    });
    assert_eq!(processes.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    assert!(test_kill_process(pid).is_err() || state.unwrap().contains(") Z "));
}
