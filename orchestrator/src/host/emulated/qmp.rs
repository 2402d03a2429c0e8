//! QMP, QEMU's control channel: typed commands, as qapi has them, on a transport of our own.
//! qapi 0.15's own transport ends the connection at an event that its schema lacks, and aborts the
//! process after a cancelled command. This transport always sends ids, skips unexpected messages,
//! and may be cancelled anywhere.

use super::commands::Capabilities;
use crate::host::ending::Ending;
use s2lab_model::escape;
use s2lab_os::waits::timeout;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, oneshot},
};

/// The longest line of QEMU, in bytes. `query-qmp-schema` is its longest answer, 0.3 MB in QEMU
/// 10.0.
const MAX_LINE: u64 = 4 << 20;
const EVENTS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("QEMU closed its QMP channel during `{0}`")]
    Closed(&'static str),
    #[error("QMP channel: {0}")]
    Io(#[from] io::Error),
    #[error("QEMU does not speak QMP: {0}")]
    Protocol(String),
    #[error("QEMU refuses `{command}`: {class}: {description}")]
    Refused { command: &'static str, class: String, description: String },
    #[error("QEMU's answer to `{command}` is not what its schema says: {why}")]
    Answer { command: &'static str, why: String },
    #[error("QEMU has not answered `{command}` in {deadline:?}")]
    Silent { command: &'static str, deadline: Duration },
}

/// An event by name. The schema changes from release to release, so nothing more is assumed.
#[derive(Debug, Clone)]
pub struct QmpEvent {
    pub name: String,
    pub data: Value,
}

#[derive(Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    ok: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

#[derive(Deserialize)]
struct Greeting {
    version: GreetingVersion,
}

#[derive(Deserialize)]
struct GreetingVersion {
    qemu: QemuVersion,
}

/// QEMU's version in its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct QemuVersion {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

type Waiter = oneshot::Sender<Result<Value, Refusal>>;
/// The waiting commands. None once the connection is closed, so that nobody begins to wait for it.
type Waiters = Arc<Mutex<Option<HashMap<u64, Waiter>>>>;

/// A connection to QEMU. It sends one command after another.
pub struct Qmp {
    write: OwnedWriteHalf,
    next: u64,
    waiters: Waiters,
    events: broadcast::Sender<QmpEvent>,
    version: QemuVersion,
    /// The reason why the connection is not trusted any more, if there is one.
    broken: Arc<OnceLock<String>>,
    /// The deadline of one answer.
    deadline: Duration,
    ending: Ending,
}

impl Qmp {
    /// Reads the greeting and leaves negotiation mode. Each answer of QEMU may take until
    /// `deadline`. `ending` is that of the QEMU behind the channel.
    pub async fn connect(stream: UnixStream, deadline: Duration, ending: Ending) -> Result<Self, QmpError> {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let greeting = timeout(deadline, line(&mut read)).await;
        let greeting = match greeting.map_err(|_| QmpError::Silent { command: "greeting", deadline })? {
            Ok(Some(greeting)) => greeting,
            closed => {
                ending.settle().await;
                closed?;
                return Err(QmpError::Closed("greeting"));
            }
        };
        let version = serde_json::from_slice::<Message>(&greeting)
            .map_err(|e| QmpError::Protocol(e.to_string()))?
            .greeting
            .ok_or_else(|| QmpError::Protocol("no greeting".into()))?
            .version
            .qemu;
        let waiters: Waiters = Arc::new(Mutex::new(Some(HashMap::new())));
        let (events, _) = broadcast::channel(EVENTS);
        let broken = Arc::new(OnceLock::new());
        let receiver = Receiver {
            waiters: Arc::clone(&waiters),
            events: events.clone(),
            broken: Arc::clone(&broken),
            ending: ending.clone(),
        };
        tokio::spawn(receiver.run(read));
        let mut qmp = Self { write, next: 0, waiters, events, version, broken, deadline, ending };
        qmp.execute(Capabilities {}).await?;
        Ok(qmp)
    }

    pub fn version(&self) -> QemuVersion {
        self.version
    }

    pub fn events(&self) -> broadcast::Receiver<QmpEvent> {
        self.events.subscribe()
    }

    /// Sends a command and waits for its answer.
    pub async fn execute<C: qapi::Command>(&mut self, command: C) -> Result<C::Ok, QmpError> {
        let name = C::NAME;
        let id = self.next;
        self.next += 1;
        let (answer, answered) = oneshot::channel();
        match lock(&self.waiters).as_mut() {
            Some(waiters) => drop(waiters.insert(id, answer)),
            None => return Err(self.closed(name)),
        }
        let text = json!({"execute": name, "arguments": command, "id": id}).to_string() + "\n";
        let exchange = async {
            self.write.write_all(text.as_bytes()).await?;
            Ok::<_, io::Error>(answered.await)
        };
        let deadline = self.deadline;
        let silent = |_| QmpError::Silent { command: name, deadline };
        let answered = match timeout(deadline, exchange).await.map_err(silent)? {
            Ok(answered) => answered,
            Err(error) => {
                self.ending.settle().await;
                return Err(error.into());
            }
        };
        match answered {
            Err(_) => Err(self.closed(name)),
            Ok(Err(Refusal { class, desc })) => {
                Err(QmpError::Refused { command: name, class, description: desc })
            }
            Ok(Ok(value)) => serde_json::from_value(value)
                .map_err(|e| QmpError::Answer { command: name, why: e.to_string() }),
        }
    }

    fn closed(&self, command: &'static str) -> QmpError {
        match self.broken.get() {
            Some(why) => QmpError::Protocol(why.clone()),
            None => QmpError::Closed(command),
        }
    }
}

fn lock(waiters: &Waiters) -> MutexGuard<'_, Option<HashMap<u64, Waiter>>> {
    // The map is valid at every unlock, so a panic elsewhere does not damage it.
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn line(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    read.take(MAX_LINE).read_until(b'\n', &mut bytes).await?;
    Ok(bytes.ends_with(b"\n").then_some(bytes))
}

/// The task that reads all that QEMU sends.
struct Receiver {
    waiters: Waiters,
    events: broadcast::Sender<QmpEvent>,
    broken: Arc<OnceLock<String>>,
    ending: Ending,
}

impl Receiver {
    /// Reads to the end of the channel. Nobody who waits learns of that before the machine's end
    /// had time to become known.
    async fn run(self, mut read: BufReader<OwnedReadHalf>) {
        loop {
            match line(&mut read).await {
                Ok(Some(bytes)) if self.take(&bytes) => {}
                Ok(Some(_)) => break,
                Ok(None) => {
                    self.ending.settle().await;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "QMP channel");
                    self.ending.settle().await;
                    break;
                }
            }
        }
        lock(&self.waiters).take();
    }

    /// Passes a message on. Returns false if it is none: then nothing on the channel is believed
    /// any more.
    fn take(&self, bytes: &[u8]) -> bool {
        let message: Message = match serde_json::from_slice(bytes) {
            Ok(message) => message,
            Err(error) => {
                // Only this task sets it.
                let _ = self.broken.set(format!("a line that is not a message: {error}"));
                return false;
            }
        };
        if let Some(name) = message.event {
            let data = escape::line(&message.data.to_string());
            tracing::debug!(name = escape::line(&name), data, "QMP event");
            // It is no error if nobody listens.
            let _ = self.events.send(QmpEvent { name, data: message.data });
            return true;
        }
        let waiter = message.id.and_then(|id| lock(&self.waiters).as_mut()?.remove(&id));
        if let Some(waiter) = waiter {
            // It is no error either if the caller has stopped waiting.
            let _ = waiter.send(match message.error {
                Some(refusal) => Err(refusal),
                None => Ok(message.ok.unwrap_or_default()),
            });
        }
        true
    }
}
