//! Chromium's protocol for tools, on two pipes: JSON messages, each with a zero byte at its end
//! (Chromium 156, `content/browser/devtools/devtools_pipe_handler.cc`).

use super::NAME;
use crate::Failed;
use s2lab_os::child::{self, run};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// The longest time for an answer. A page of some megabytes takes a second on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest message; a picture of a long page has some megabytes.
const LONGEST: u64 = 256 << 20;
/// Chromium reads commands from descriptor 3 and writes to 4.
const SHELL: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// A running Chromium. It ends with this value.
pub(super) struct Wire {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    complaints: PathBuf,
    next: u64,
    /// The tab that commands go to. Empty: the browser itself.
    pub(super) session: String,
    /// Events that no one has taken, the oldest first.
    pub(super) events: Vec<Value>,
}

impl Wire {
    /// Starts `program`, whose own messages go to a file in `folder`.
    pub(super) fn start(program: &Command, folder: &Path) -> Result<Self, Failed> {
        let complaints = folder.join("stderr");
        let stderr = File::create(&complaints).map_err(broken)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SHELL, "sh"]).arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        child::tie(&mut command);
        let mut child = command.spawn().map_err(broken)?;
        let (Some(to), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            run::end(&mut child);
            return Err(broken("no pipes"));
        };
        let (sender, from) = mpsc::channel();
        let reading = thread::Builder::new().spawn(move || {
            for message in messages(stdout) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let wire = Self { child, to, from, complaints, next: 0, session: String::new(), events: Vec::new() };
        // The value ends the child if there is no thread.
        reading.map_err(broken)?;
        Ok(wire)
    }

    /// Returns the result of a command.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Failed> {
        let id = self.send(method, parameters)?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let message = self.receive(method, deadline)?;
            if message["id"] != id {
                self.take(message)?;
                continue;
            }
            return match message.get("error") {
                Some(error) => Err(broken(format_args!("{method}: {error}"))),
                None => Ok(message["result"].clone()),
            };
        }
    }

    /// Waits for an event, unless it has come already.
    pub(super) fn wait_for(&mut self, event: &str) -> Result<(), Failed> {
        let deadline = Instant::now() + ANSWER;
        while !self.events.iter().any(|known| known["method"] == event) {
            let message = self.receive(event, deadline)?;
            self.take(message)?;
        }
        Ok(())
    }

    fn send(&mut self, method: &str, parameters: Value) -> Result<u64, Failed> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).map_err(|error| self.ended(&error.to_string()))?;
        Ok(self.next)
    }

    fn receive(&self, what: &str, deadline: Instant) -> Result<Value, Failed> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.from.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => broken(format_args!("no {what} within {} s", ANSWER.as_secs())),
            RecvTimeoutError::Disconnected => self.ended(&format!("it ended before {what}")),
        })
    }

    /// Keeps an event. A dialog stops the page, so it is closed.
    fn take(&mut self, message: Value) -> Result<(), Failed> {
        if message["method"] == "Page.javascriptDialogOpening" {
            self.send("Page.handleJavaScriptDialog", json!({ "accept": false }))?;
        }
        if message["method"].is_string() {
            self.events.push(message);
        }
        Ok(())
    }

    /// Returns the error with the last messages of Chromium itself.
    fn ended(&self, why: &str) -> Failed {
        let text = fs::read(&self.complaints).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        broken(format_args!("{why}\n{}", lines[lines.len().saturating_sub(20)..].join("\n")))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        run::end(&mut self.child);
    }
}

fn broken(why: impl ToString) -> Failed {
    Failed::broken(NAME, why)
}

/// Returns the messages until the pipe ends, or something that is not a message comes.
fn messages(from: impl Read) -> impl Iterator<Item = Value> {
    let mut from = BufReader::new(from);
    std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        from.by_ref().take(LONGEST).read_until(0, &mut bytes).ok()?;
        serde_json::from_slice(bytes.strip_suffix(&[0])?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_with_a_zero_byte() {
        let found: Vec<Value> = messages(&b"{\"id\":1}\0[2]\0{\"half"[..]).collect();
        assert_eq!(found, [json!({ "id": 1 }), json!([2])]);
        assert_eq!(messages(&b"rubbish\0{}\0"[..]).count(), 0);
    }
}
