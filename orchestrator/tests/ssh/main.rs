//! ssh against peers that misbehave, and against a real dropbear of this machine's own
//! architecture.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

mod dropbear;

use dropbear::Dropbear;
use s2lab::host::ssh::{Exit, MAX_OUTPUT, Shell, Ssh, SshError, quoted};
use std::{
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A deadline that passes.
const SHORT: Duration = Duration::from_millis(700);
/// A deadline that does not pass, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// The time from a deadline to the answer.
const SLACK: Duration = Duration::from_secs(5);

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

async fn connect_to(first: &'static [u8]) -> (Result<Ssh, SshError>, Duration) {
    let (ours, mut theirs) = pair();
    let begin = Instant::now();
    theirs.write_all(first).unwrap();
    let connected = Ssh::connect(ours, SHORT).await;
    (connected, begin.elapsed())
}

#[tokio::test]
async fn a_silent_peer_costs_the_deadline() {
    for first in [&b""[..], b"SSH-2.0-", b"SSH-2.0-nobody\r\n", b"SSH-2.0-nobody\r\n\0\0\x01\0"] {
        let (connected, took) = connect_to(first).await;
        assert!(matches!(connected, Err(SshError::Silent { .. })), "{first:?}: {connected:?}");
        assert!(took >= SHORT && took < SHORT + SLACK, "{first:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_no_sshd() {
    for first in [&[b'x'; 100_000][..], b"SSH-2.0-nobody\r\n\xff\xff\xff\xff\xff\xff\xff\xff", &[0; 100_000]]
    {
        let (connected, took) = connect_to(first).await;
        assert!(connected.is_err(), "{connected:?}");
        assert!(took < SHORT + SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn a_peer_that_closes_is_lost_at_once() {
    let (ours, theirs) = pair();
    drop(theirs);
    let begin = Instant::now();
    let connected = Ssh::connect(ours, LONG).await;
    assert!(matches!(connected, Err(SshError::Lost { .. })), "{connected:?}");
    assert!(begin.elapsed() < SLACK);
}

#[tokio::test]
async fn a_dropped_call_ends_the_connection() {
    let (ours, mut theirs) = pair();
    assert!(tokio::time::timeout(SHORT, Ssh::connect(ours, LONG)).await.is_err());
    theirs.set_read_timeout(Some(SLACK)).unwrap();
    let mut said = vec![];
    theirs.read_to_end(&mut said).unwrap();
    assert!(said.starts_with(b"SSH-2.0-"), "{said:?}");
}

#[tokio::test]
async fn what_a_command_says_and_how_it_ends() {
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    for code in [0, 1, 7, 255] {
        let output = ssh.exec(&format!("echo out; echo err >&2; exit {code}"), vec![], LONG).await.unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.exit, Exit::Code(code));
    }
    for signal in ["KILL", "TERM", "SEGV"] {
        let output = ssh.exec(&format!("kill -{signal} $$"), vec![], LONG).await.unwrap();
        assert_eq!(output.exit, Exit::Signal(signal.into()));
    }
    let stdin: Vec<u8> = (0..MAX_OUTPUT).map(|n| (n % 251) as u8).collect();
    let output = ssh.exec("cat", stdin.clone(), LONG).await.unwrap();
    assert!(output.stdout == stdin && output.dropped == 0);
    // It does not read its input.
    let output = ssh.exec("exit 3", stdin, LONG).await.unwrap();
    assert_eq!(output.exit, Exit::Code(3));
}

#[tokio::test]
async fn a_flood_on_both_streams_is_bounded_and_does_not_stop_the_command() {
    const FLOOD: usize = 5 << 20;
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    // One after the other: each alone is more than the window that they share.
    let flood = format!("head -c {FLOOD} /dev/zero >&2; head -c {FLOOD} /dev/zero; exit 9");
    let output = ssh.exec(&flood, vec![], LONG).await.unwrap();
    assert_eq!(output.exit, Exit::Code(9));
    assert_eq!((output.stdout.len(), output.stderr.len()), (MAX_OUTPUT, MAX_OUTPUT));
    assert_eq!(output.dropped, (2 * (FLOOD - MAX_OUTPUT)) as u64);
}

#[tokio::test]
async fn an_endless_command_and_a_frozen_host_cost_the_deadline() {
    for (command, freeze) in [("yes", false), ("sleep 1000", false), ("yes", true)] {
        let Some((dropbear, ssh)) = dropbear().await else { return };
        if freeze {
            dropbear.freeze();
        }
        let begin = Instant::now();
        let output = ssh.exec(command, vec![], SHORT).await;
        assert!(matches!(output, Err(SshError::Silent { .. })), "{output:?}");
        assert!(begin.elapsed() < SHORT + SLACK, "{:?}", begin.elapsed());
        // The connection has ended, and reports it at once.
        let next = ssh.exec("true", vec![], LONG).await;
        assert!(matches!(next, Err(SshError::Lost { .. })), "{next:?}");
        assert!(begin.elapsed() < SHORT + SLACK);
    }
}

#[tokio::test]
async fn a_peer_that_dies_in_the_middle_of_a_command_is_lost() {
    let Some((dropbear, ssh)) = dropbear().await else { return };
    let begin = Instant::now();
    let command = ssh.exec("echo begun; sleep 1000", vec![], LONG);
    let death = async {
        tokio::time::sleep(SHORT).await;
        drop(dropbear);
    };
    let (output, ()) = tokio::join!(command, death);
    assert!(matches!(output, Err(SshError::Lost { .. })), "{output:?}");
    assert!(begin.elapsed() < SHORT + SLACK);
}

#[tokio::test]
async fn files_are_read_up_to_a_limit() {
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's; exit 1 # $HOME");
    std::fs::write(&path, b"0123456789").unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(ssh.read_file(path, 100, LONG).await.unwrap(), b"0123456789");
    assert_eq!(ssh.read_file(path, 4, LONG).await.unwrap(), b"0123");
    let error = ssh.read_file("/nonsense/-x", 4, LONG).await.unwrap_err();
    assert!(matches!(&error, SshError::Command { exit: Exit::Code(1), .. }), "{error}");
}

/// Keeps the bytes that are written to it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_shell_takes_commands_from_a_pipe() {
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    let (mut typing, input) = pair();
    let (_bell, resized) = pair();
    let (output, errors) = (Kept::default(), Kept::default());
    let shell = Shell {
        command: None,
        terminal: None,
        input: input.into(),
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        resized,
    };
    let commands = "echo err >&2; head -c 3000000 /dev/zero\n# \x1d\x1d\x1d\ncat; exit 9\nends here\n";
    typing.write_all(commands.as_bytes()).unwrap();
    drop(typing);
    // Its input ends in `cat`, so the exit code is never 9.
    let exit = tokio::time::timeout(LONG, ssh.shell(shell)).await.unwrap().unwrap();
    let output = output.0.lock().unwrap();
    assert!(output.len() >= 3_000_000, "{}", output.len());
    assert_eq!(errors.0.lock().unwrap().as_slice(), b"err\n");
    assert!(matches!(exit, Exit::Code(0 | 9)), "{exit:?}");
}

#[tokio::test]
async fn a_command_in_place_of_a_shell_has_its_own_input_and_exit_code() {
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    let (mut typing, input) = pair();
    let (_bell, resized) = pair();
    let (output, errors) = (Kept::default(), Kept::default());
    let shell = Shell {
        command: Some(format!("cat; echo {} >&2; exit 7", quoted("it's $HOME"))),
        terminal: None,
        input: input.into(),
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        resized,
    };
    typing.write_all(b"exit 3\n").unwrap();
    drop(typing);
    let exit = tokio::time::timeout(LONG, ssh.shell(shell)).await.unwrap().unwrap();
    assert_eq!(exit, Exit::Code(7));
    assert_eq!(output.0.lock().unwrap().as_slice(), b"exit 3\n");
    assert_eq!(errors.0.lock().unwrap().as_slice(), b"it's $HOME\n");
}

#[tokio::test]
async fn a_file_arrives_whole_with_its_mode() {
    let Some((_dropbear, ssh)) = dropbear().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/it's new");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    ssh.write_file(path.to_str().unwrap(), bytes.clone(), 0o750, LONG).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
    let refused = ssh.write_file(folder.path().to_str().unwrap(), bytes, 0o750, LONG).await.unwrap_err();
    assert!(matches!(refused, SshError::Command { .. }) && refused.to_string().contains("copying to /"));
}

#[tokio::test]
async fn whoever_presses_it_three_times_leaves_a_shell_that_does_not_answer() {
    let Some((dropbear, ssh)) = dropbear().await else { return };
    let (mut typing, input) = pair();
    let (_bell, resized) = pair();
    let output = Kept::default();
    let size = s2lab::host::ssh::Size { columns: 80, rows: 24 };
    let shell = Shell {
        command: None,
        terminal: Some(("vt100".into(), size)),
        input: input.into(),
        output: Box::new(output.clone()),
        errors: Box::new(io::sink()),
        resized,
    };
    typing.write_all(b"stty size\n").unwrap();
    let mut shell = std::pin::pin!(ssh.shell(shell));
    let begin = Instant::now();
    while !String::from_utf8_lossy(&output.0.lock().unwrap()).contains("24 80") {
        assert!(begin.elapsed() < LONG, "{:?}", output.0.lock().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut shell).await.is_err());
    }
    dropbear.freeze();
    typing.write_all(b"\x1d\x1d\x1d").unwrap();
    assert_eq!(tokio::time::timeout(LONG, shell).await.unwrap().unwrap(), Exit::Left);
}

/// Connects to a dropbear. Returns None, and prints the reason, if none can be started here.
async fn dropbear() -> Option<(Dropbear, Ssh)> {
    let (dropbear, stream) = Dropbear::start()?;
    let ssh = Ssh::connect(stream, LONG).await.unwrap();
    Some((dropbear, ssh))
}
