//! The state of a machine in a file: QEMU's migration, in the form `mapped-ram`, in which each page of RAM has
//! its place and pages of zeroes are holes (QEMU docs/devel/migration/mapped-ram.rst).

use super::{
    commands::with_object,
    qmp::{Qmp, QmpError},
};
use s2lab_os::waits::timeout;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::time::sleep;

/// The interval of the questions whether QEMU is done.
const AGAIN: Duration = Duration::from_millis(5);
/// Bytes a second, more than any disk has. QEMU's default is 128 MiB.
const BANDWIDTH: u64 = 1 << 40;

/// The reason why a machine is not saved, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("QEMU cannot {doing} the state of the machine: {why}")]
    Failed { doing: &'static str, why: String },
    #[error("QEMU is not done after {deadline:?}: {doing} the state of the machine")]
    Late { doing: &'static str, deadline: Duration },
    #[error("the path of the machine's state is not UTF-8, or has a comma: {0}")]
    Path(String),
}

with_object! {
    SetCapabilities, "migrate-set-capabilities", Value;
    SetParameters, "migrate-set-parameters", Value;
    Migrate, "migrate", Value;
    MigrateIncoming, "migrate-incoming", Value;
    QueryMigrate, "query-migrate", Progress;
}

/// QEMU's answer to `query-migrate`. Before a migration it has no status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Progress {
    status: Option<String>,
    error_desc: Option<String>,
}

/// Writes the state of a machine that is stopped into the file.
pub(in crate::host) async fn save(qmp: &mut Qmp, state: &Path, deadline: Duration) -> Result<(), SaveError> {
    let uri = uri(state)?;
    prepare(qmp).await?;
    qmp.execute(Migrate(uri)).await?;
    done(qmp, "write", deadline).await
}

/// Reads the state of a machine from the file, into one that does not run yet.
pub(super) async fn load(qmp: &mut Qmp, state: &Path, deadline: Duration) -> Result<(), SaveError> {
    let uri = uri(state)?;
    prepare(qmp).await?;
    qmp.execute(MigrateIncoming(uri)).await?;
    done(qmp, "read", deadline).await
}

fn uri(state: &Path) -> Result<Value, SaveError> {
    // QEMU takes `,offset=` as an option.
    let path = state.to_str().filter(|path| !path.contains(','));
    let path = path.ok_or_else(|| SaveError::Path(state.display().to_string()))?;
    Ok(json!({"uri": format!("file:{path}")}))
}

async fn prepare(qmp: &mut Qmp) -> Result<(), SaveError> {
    let capabilities = json!({"capabilities": [{"capability": "mapped-ram", "state": true}]});
    qmp.execute(SetCapabilities(capabilities)).await?;
    qmp.execute(SetParameters(json!({"max-bandwidth": BANDWIDTH}))).await?;
    Ok(())
}

async fn done(qmp: &mut Qmp, doing: &'static str, deadline: Duration) -> Result<(), SaveError> {
    let ended = async {
        loop {
            let Progress { status, error_desc } = qmp.execute(QueryMigrate(json!({}))).await?;
            match status.as_deref() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why = error_desc.unwrap_or_else(|| "it gives no reason".into());
                    return Err(SaveError::Failed { doing, why });
                }
                _ => sleep(AGAIN).await,
            }
        }
    };
    timeout(deadline, ended).await.map_err(|_| SaveError::Late { doing, deadline })?
}
