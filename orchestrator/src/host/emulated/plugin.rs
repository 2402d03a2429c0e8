//! The question if this QEMU takes the plugin.

use super::{
    cpu::{self, CpuError, FAST_PAUTH},
    kept,
    memory::SharedMemory,
    process::Launcher,
};
use crate::host::deadlines::Deadlines;
use s2lab_cache::{Plugin, Qemu};
use s2lab_trace::{INTERFACE, INTERFACES};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The longest message of a QEMU that refuses the plugin.
const LONGEST: u64 = 4096;

/// QEMU's answers to the questions before a machine is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The `-cpu` argument of the scenario's CPU model.
    pub(super) cpu: String,
    /// The version of the plugin interface with which QEMU takes the plugin, or the reason why there is no
    /// plugin.
    interface: Result<i32, String>,
}

impl Answers {
    /// Returns the plugin, if QEMU takes it, or the reason why there is none.
    pub(super) fn plugin<'a>(&self, plugin: Result<&'a Plugin, &str>) -> Result<Taken<'a>, String> {
        let file = plugin.map_err(str::to_owned)?.file.as_path();
        self.interface.clone().map(|interface| Taken { file, interface })
    }
}

/// A plugin that QEMU takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    pub(super) file: &'a Path,
    /// The version of the plugin interface.
    interface: i32,
}

impl Taken<'_> {
    /// Makes the plugin in this QEMU declare the version.
    pub(super) fn declare(&self, qemu: &mut Command) {
        qemu.env(OsStr::from_bytes(INTERFACE.to_bytes()), self.interface.to_string());
    }
}

/// The questions before a machine is made.
#[derive(Debug, Clone, Copy)]
pub struct Questions<'a> {
    pub qemu: &'a Qemu,
    /// The scenario's CPU model.
    pub cpu: &'a str,
    /// QEMU's plugin, or the reason why there is none.
    pub plugin: Result<&'a Plugin, &'a str>,
    pub deadlines: Deadlines,
    /// The folder with the answers of QEMUs.
    pub kept: Option<&'a Path>,
}

/// All that the answers depend on.
#[derive(Debug, Serialize)]
struct Subject<'a> {
    /// QEMU and its libraries.
    packages: Vec<&'a str>,
    plugin: &'a str,
    interfaces: &'a [i32],
    cpu: &'a str,
    /// The property that is looked for.
    property: &'a str,
}

impl Questions<'_> {
    /// Returns the place of the answers in the cache. There is none without a plugin, and for a QEMU that is in no
    /// package: its program can become another one under the same name.
    fn place(&self) -> Option<PathBuf> {
        let (folder, plugin) = (self.kept?, self.plugin.ok()?);
        let packages: Vec<_> = self.qemu.packages.iter().map(|package| package.sha256.as_str()).collect();
        let subject = Subject {
            packages,
            plugin: &plugin.sha256,
            interfaces: &INTERFACES,
            cpu: self.cpu,
            property: FAST_PAUTH,
        };
        (!self.qemu.packages.is_empty()).then(|| kept::place(folder, &subject))
    }
}

/// Returns the answers, from the cache or from QEMU. A refusal is not kept: it may be due to the machine's state.
pub(in crate::host) async fn ask(
    launcher: &Launcher,
    questions: &Questions<'_>,
) -> Result<Answers, CpuError> {
    let place = questions.place();
    if let Some(known) = place.as_deref().and_then(kept::read::<Answers>) {
        return Ok(known);
    }
    let answers = ask_qemu(launcher, questions).await?;
    if let Some(place) = place.filter(|_| answers.interface.is_ok()) {
        kept::keep(&place, "QEMU's answers", &answers);
    }
    Ok(answers)
}

/// Asks QEMU both at once, for each version of the plugin interface until it takes the plugin; one that
/// takes none is asked once more.
async fn ask_qemu(launcher: &Launcher, questions: &Questions<'_>) -> Result<Answers, CpuError> {
    let why = match questions.plugin {
        Ok(Plugin { file, .. }) => {
            let mut why = String::new();
            for interface in INTERFACES {
                let plugin = Taken { file, interface };
                match with(launcher, questions, plugin).await {
                    Ok(cpu) => return Ok(Answers { cpu, interface: Ok(interface) }),
                    Err(Refusal::Unknown(error)) => return Err(error),
                    Err(Refusal::Plugin(reason)) => why = reason,
                }
            }
            why
        }
        Err(why) => why.to_owned(),
    };
    let Questions { qemu, cpu: model, deadlines, .. } = *questions;
    let cpu = cpu::argument(launcher, qemu.command(), model, deadlines, Stdio::null()).await?;
    Ok(Answers { cpu, interface: Err(why) })
}

enum Refusal {
    /// A QEMU with the plugin that does not know the CPU model.
    Unknown(CpuError),
    Plugin(String),
}

async fn with(launcher: &Launcher, questions: &Questions<'_>, plugin: Taken<'_>) -> Result<String, Refusal> {
    let cannot = |error: std::io::Error| Refusal::Plugin(format!("QEMU could not be asked: {error}"));
    let messages = SharedMemory::new("messages", LONGEST).map_err(cannot)?;
    let stderr = messages.fd().try_clone_to_owned().map_err(cannot)?;
    let mut qemu = questions.qemu.command();
    qemu.arg("-plugin").arg(plugin.file);
    plugin.declare(&mut qemu);
    let asked = cpu::argument(launcher, qemu, questions.cpu, questions.deadlines, stderr.into()).await;
    asked.map_err(|error| match error {
        CpuError::Unknown { .. } => Refusal::Unknown(error),
        error => Refusal::Plugin(format!("QEMU does not take it: {}", said(&messages, &error))),
    })
}

/// Returns the last line of QEMU's messages, or the error.
fn said(messages: &SharedMemory, error: &CpuError) -> String {
    let words = (0..LONGEST).step_by(size_of::<u64>()).map_while(|offset| messages.word(offset));
    let bytes = words.flat_map(u64::to_le_bytes).take_while(|byte| *byte != 0);
    let text = String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned();
    text.lines().next_back().map_or_else(|| error.to_string(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_cache::Package;
    use std::os::unix::fs::PermissionsExt;

    /// A QEMU that knows each CPU model, takes each plugin, and notes each start.
    const WILLING: &str = r#"#!/bin/bash
echo >>"${0%/*}/starts"
for argument; do case $argument in socket,id=qmp,fd=*) fd=${argument##*=} ;; esac; done
echo '{"QMP":{"version":{"qemu":{"major":10,"minor":0,"micro":2},"package":""},"capabilities":[]}}' >&"$fd"
while read -r line <&"$fd"; do
    [[ $line =~ \"id\":([0-9]+) ]]
    case $line in *expansion*) answer='{"model":{"name":"a","props":{"pauth-impdef":false}}}' ;; *) answer={} ;; esac
    echo "{\"return\":$answer,\"id\":${BASH_REMATCH[1]}}" >&"$fd"
done
"#;
    /// A QEMU that takes no plugin.
    const REFUSES: &str = "#!/bin/bash\necho >>\"${0%/*}/starts\"\necho no >&2\nexit 1\n";

    struct Case {
        folder: tempfile::TempDir,
        launcher: Launcher,
        qemu: Qemu,
        plugin: Plugin,
    }

    impl Case {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("qemu");
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let text = |text: &str| text.to_owned();
            let package = Package {
                name: text("qemu"),
                version: text("1"),
                architecture: text("amd64"),
                sha256: text("q"),
            };
            let (version, packages) = ("10.0.2".into(), vec![package]);
            let qemu = Qemu { program, env: vec![], args: vec![], version, packages };
            let plugin = Plugin { file: "/plugin.so".into(), sha256: "p".into() };
            Self { folder, launcher: Launcher::start().unwrap(), qemu, plugin }
        }

        async fn ask(&self) -> Result<Answers, CpuError> {
            let kept = self.folder.path().join("answers");
            let questions = Questions {
                qemu: &self.qemu,
                cpu: "a",
                plugin: Ok(&self.plugin),
                deadlines: Deadlines::default(),
                kept: Some(&kept),
            };
            ask(&self.launcher, &questions).await
        }

        fn starts(&self) -> usize {
            std::fs::read_to_string(self.folder.path().join("starts")).unwrap().len()
        }
    }

    #[tokio::test]
    async fn a_qemu_of_the_cache_is_asked_once() {
        let mut case = Case::new(WILLING);
        let wanted = Answers { cpu: "a,pauth-impdef=on".into(), interface: Ok(INTERFACES[0]) };
        assert_eq!(case.ask().await.unwrap(), wanted);
        assert_eq!(case.ask().await.unwrap(), wanted);
        assert_eq!(case.starts(), 1);
        case.plugin.sha256 = "another".into();
        assert_eq!(case.ask().await.unwrap(), wanted);
        assert_eq!(case.starts(), 2, "of another plugin");
        case.qemu.packages[0].sha256 = "another".into();
        case.ask().await.unwrap();
        assert_eq!(case.starts(), 3, "another QEMU");
        for note in std::fs::read_dir(case.folder.path().join("answers")).unwrap() {
            std::fs::write(note.unwrap().path(), "{\"cpu\": \"a").unwrap();
        }
        assert_eq!(case.ask().await.unwrap(), wanted);
        assert_eq!(case.starts(), 4, "half a note is none");
    }

    #[tokio::test]
    async fn the_program_of_a_person_is_asked_each_time() {
        let mut case = Case::new(WILLING);
        case.qemu.packages.clear();
        case.ask().await.unwrap();
        case.ask().await.unwrap();
        assert_eq!(case.starts(), 2);
    }

    #[tokio::test]
    async fn a_refusal_is_not_kept() {
        let case = Case::new(REFUSES);
        case.ask().await.unwrap_err();
        assert!(!case.folder.path().join("answers").exists());
    }
}
