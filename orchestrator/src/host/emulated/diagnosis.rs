//! The diagnosis of a host whose cell has stopped early, while it still runs. It helps to find the
//! cause, and decides nothing.

use super::{
    argv::HOST_CPUS,
    commands::{MonitorCommand, QueryStatus},
    gdb::{Gdb, HoldError},
    qmp::{Qmp, QmpError},
};
use crate::host::ssh::Ssh;
use s2lab_model::escape::bounded;
use s2lab_os::waits::{self, timeout};
use std::{
    fmt::{Display, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// The most lines of one answer, and the longest line in characters.
const MAX_LINES: usize = 1000;
const MAX_LINE: usize = 400;
/// The registers of every vCPU that are read: its place, and the settings of its hypervisor.
const REGISTERS: [&str; 6] = ["pc", "cpsr", "HCR_EL2", "VTTBR_EL2", "ESR_EL2", "FAR_EL2"];
/// The virtio device of the agent's port, as QEMU names it, and the number of its queues that are asked for: two for
/// each port that s2lab uses, and two for control messages.
const AGENT_BUS: &str = "/machine/peripheral/agent-bus/virtio-backend";
const QUEUES: usize = 8;
/// The commands for the host, the most useful first: the first missing answer ends the diagnosis.
const COMMANDS: [&str; 5] = [
    "dmesg | tail -n 200",
    "ps -o pid,ppid,stat,rss,args",
    "for p in /proc/[0-9]*; do read name < $p/comm; case $name in qemu-*) \
     for t in $p/task/*; do echo \"$t $(cat $t/comm)\"; cat $t/stack; done;; esac; done",
    "cat /proc/meminfo",
    "ls -l /sys/bus/pci/devices /sys/bus/pci/drivers/vfio-pci",
];

/// Returns all that it can find out within `deadline`, as text. Without `ssh` the host is not
/// asked.
pub async fn diagnose(
    why: &str,
    qmp: &mut Qmp,
    gdb: &mut Gdb,
    ssh: Option<UnixStream>,
    deadline: Duration,
) -> String {
    let mut text = String::new();
    section(&mut text, "why the cell stopped", why);
    let begin = waits::now();
    let asked = async {
        if let Err(error) = registers(&mut text, qmp, gdb).await {
            section(&mut text, "registers", &format!("not all of them: {error}"));
        }
        if let Err(error) = queues(&mut text, qmp).await {
            section(&mut text, "queues", &format!("not all of them: {error}"));
        }
        if let Some(ssh) = ssh
            && let Err(error) = commands(&mut text, ssh, deadline.saturating_sub(begin.elapsed())).await
        {
            section(&mut text, "the host", &format!("not all of it: {error}"));
        }
    };
    if timeout(deadline, asked).await.is_err() {
        section(&mut text, "the rest", &format!("did not come in {deadline:?}"));
    }
    text
}

/// Adds QEMU's view, which needs nothing of the host.
async fn registers(text: &mut String, qmp: &mut Qmp, gdb: &mut Gdb) -> Result<(), HoldError> {
    let status = qmp.execute(QueryStatus {}).await?;
    section(text, "QEMU", &status.status);
    gdb.hold(qmp).await?;
    gdb.resume_after_cancel().await?;
    for vcpu in 0..HOST_CPUS {
        let mut line = format!("vCPU {vcpu}");
        for name in REGISTERS {
            let value = gdb.register(vcpu, name).await?;
            // Writing to a String cannot fail.
            let _ = write!(line, " {name} {value:#x}");
        }
        section(text, "registers", &line);
    }
    if status.running {
        gdb.release(qmp).await?;
    }
    Ok(())
}

/// Adds the state of the queues between the host's agent and s2lab. A host that has fallen silent may wait for one
/// of them.
async fn queues(text: &mut String, qmp: &mut Qmp) -> Result<(), QmpError> {
    for queue in 0..QUEUES {
        let command_line = format!("info virtio-queue-status {AGENT_BUS} {queue}");
        let ask = MonitorCommand { command_line };
        section(text, format!("queue {queue} of the agent's bus"), &qmp.execute(ask).await?);
    }
    Ok(())
}

/// Returns why the machine does not run on, if that is so.
pub async fn unwell(qmp: &mut Qmp, deadline: Duration) -> Option<String> {
    match timeout(deadline, qmp.execute(QueryStatus {})).await {
        Ok(Ok(status)) if status.running => None,
        Ok(Ok(status)) => Some(format!("QEMU has stopped the machine ({})", status.status)),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("QEMU does not answer QMP in {deadline:?}")),
    }
}

async fn commands(
    text: &mut String,
    ssh: UnixStream,
    deadline: Duration,
) -> Result<(), crate::host::ssh::SshError> {
    let begin = waits::now();
    let left = || deadline.saturating_sub(begin.elapsed());
    let ssh = Ssh::connect(ssh, left()).await?;
    for command in COMMANDS {
        let output = ssh.exec(command, vec![], left()).await?;
        section(text, format!("$ {command}"), &String::from_utf8_lossy(&output.stdout));
        if !output.stderr.is_empty() {
            section(text, format!("$ {command}, stderr"), &String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(())
}

/// Adds the last lines of `body` under a title. The host may be hostile.
fn section(text: &mut String, title: impl Display, body: &str) {
    let _ = writeln!(text, "[{}]", bounded(&title.to_string(), MAX_LINE));
    let lines: Vec<_> = body.lines().collect();
    let left_out = lines.len().saturating_sub(MAX_LINES);
    if left_out > 0 {
        let _ = writeln!(text, "  ({left_out} lines before are left out)");
    }
    for line in lines.into_iter().skip(left_out) {
        let _ = writeln!(text, "  {}", bounded(line, MAX_LINE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_host_neither_steers_nor_floods() {
        let mut text = String::new();
        let flood = format!("first\n{}\x1b[2J last {}\n", "x\n".repeat(5000), "y".repeat(10_000));
        section(&mut text, "$ dmesg", &flood);
        assert!(text.starts_with("[$ dmesg]\n  (4002 lines before are left out)\n  x\n"), "{text}");
        assert!(!text.contains('\x1b') && text.contains("\\u{1b}[2J last y"));
        assert!(text.lines().all(|line| line.len() <= MAX_LINE + 2));
        assert_eq!(text.lines().count(), MAX_LINES + 2);
    }
}
