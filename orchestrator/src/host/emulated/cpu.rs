//! The properties of a CPU model in this QEMU, asked of QEMU itself.

use super::{
    commands::{bare, with_object},
    process::Launcher,
    qmp::{Qmp, QmpError},
    watched::Watched,
};
use crate::host::{
    deadlines::{Deadline, Deadlines},
    ending::{Ended, Ending},
};
use rustix::fd::{AsRawFd, OwnedFd};
use serde_json::{Value, json};
use std::{io, process::Stdio, time::Duration};
use tokio::net::UnixStream;

/// The property that makes QEMU sign pointers by a fast hash instead of QARMA. A host then boots in
/// two thirds of the time.
pub(super) const FAST_PAUTH: &str = "pauth-impdef";

#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    #[error("QEMU could not be asked about CPU models: {0}")]
    Qmp(#[from] QmpError),
    #[error("QEMU, asked about CPU models: {0}")]
    Start(#[from] io::Error),
    #[error("{0} when it was asked about CPU models")]
    Ended(Ended),
    #[error("this QEMU has no CPU model `{name}`")]
    Unknown { name: String, known: Vec<String> },
}

with_object! {
    ExpandModel, "query-cpu-model-expansion", Value;
}

bare! {
    Definitions, "query-cpu-definitions", Value;
}

/// Returns QEMU's `-cpu` argument for a scenario's CPU model, with the faster options that the
/// model has. QEMU's messages go to `messages`.
pub async fn argument(
    launcher: &Launcher,
    qemu: std::process::Command,
    model: &str,
    deadlines: Deadlines,
    messages: Stdio,
) -> Result<String, CpuError> {
    let (process, channel) = start(launcher, qemu, deadlines, messages).await?;
    let ending = &process.ending;
    let argument = tokio::select! {
        biased;
        argument = ask(channel, model, deadlines.of(Deadline::Qmp), ending.clone()) => argument,
        ended = ending.ended() => Err(CpuError::Ended(ended)),
    };
    let argument = match argument {
        // The reason why it does not answer.
        Err(CpuError::Qmp(error)) => Err(ending.now().map_or(error.into(), CpuError::Ended)),
        argument => argument,
    };
    process.kill().await?;
    argument
}

async fn ask(
    channel: UnixStream,
    model: &str,
    deadline: Duration,
    ending: Ending,
) -> Result<String, CpuError> {
    let mut qmp = Qmp::connect(channel, deadline, ending).await?;
    let expansion = qmp.execute(ExpandModel(json!({"type": "full", "model": {"name": model}}))).await;
    match expansion {
        Ok(answer) if answer.pointer(&format!("/model/props/{FAST_PAUTH}")).is_some() => {
            Ok(format!("{model},{FAST_PAUTH}=on"))
        }
        Ok(_) => Ok(model.to_owned()),
        Err(QmpError::Refused { .. }) => {
            let definitions = qmp.execute(Definitions {}).await?;
            let names = definitions.as_array().into_iter().flatten().filter_map(|d| d.get("name")?.as_str());
            let known = names.map(str::to_owned).collect();
            Err(CpuError::Unknown { name: model.to_owned(), known })
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts a QEMU without a machine, for questions.
async fn start(
    launcher: &Launcher,
    mut qemu: std::process::Command,
    deadlines: Deadlines,
    messages: Stdio,
) -> Result<(Watched, UnixStream), CpuError> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    qemu.args([
        "-M",
        "none",
        "-nodefaults",
        "-display",
        "none",
        "-mon",
        "chardev=qmp,mode=control",
        "-chardev",
    ]);
    qemu.arg(format!("socket,id=qmp,fd={}", theirs.as_raw_fd()));
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
    let process = launcher.launch(qemu, vec![theirs]).await?;
    Ok((Watched::new(process, deadlines.of(Deadline::Rest)), UnixStream::from_std(ours)?))
}
