//! The event log's only writer.

use s2lab_model::{
    escape,
    event::{Event, Line, SessionId},
    plan::Key,
};
use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// A message to the writer.
enum Entry {
    Event {
        at: Instant,
        session: Option<SessionId>,
        cell: Option<Key>,
        event: Box<Event>,
    },
    /// A request that is answered when all earlier entries are written.
    Flush(oneshot::Sender<()>),
}

/// A handle that writes events. Clones are cheap, and may write for one cell.
#[derive(Clone)]
pub struct EventLog {
    entries: mpsc::UnboundedSender<Entry>,
    session: Option<SessionId>,
    cell: Option<Key>,
    /// The number of the next session.
    next: Arc<AtomicU32>,
}

/// The running writer.
pub struct Writer(JoinHandle<io::Result<()>>);

impl Writer {
    /// Waits until every handle is dropped and everything is written and on the disk.
    pub async fn finish(self) -> io::Result<()> {
        self.0.await.map_err(io::Error::other)?
    }
}

impl EventLog {
    /// Creates the log, and fails if there is already one. `observe` gets each line once it is in
    /// the file.
    pub fn create(path: &Path, observe: impl Fn(&Line, &str) + Send + 'static) -> io::Result<(Self, Writer)> {
        Ok(Self::begin(std::fs::File::create_new(path)?, observe))
    }

    /// Begins the log in `file`, which is empty. `observe` is that of [`EventLog::create`].
    pub fn begin(file: std::fs::File, observe: impl Fn(&Line, &str) + Send + 'static) -> (Self, Writer) {
        let start = Instant::now();
        let (entries, queue) = mpsc::unbounded_channel();
        let writer = tokio::task::spawn_blocking(move || write(file, start, queue, observe));
        (Self { entries, session: None, cell: None, next: Arc::default() }, Writer(writer))
    }

    /// Returns a handle whose events belong to the cell `key`.
    pub fn cell(&self, key: &Key) -> Self {
        Self { cell: Some(key.clone()), ..self.clone() }
    }

    /// A handle whose events belong to a new session, and to the same cell.
    pub fn new_session(&self) -> Self {
        self.session(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A handle whose events belong to the session `id`, and to the same cell.
    pub fn session(&self, id: SessionId) -> Self {
        Self { session: Some(id), ..self.clone() }
    }

    /// A handle whose events belong to the session of `other`, and to the same cell.
    pub fn session_of(&self, other: &Self) -> Self {
        Self { session: other.session, ..self.clone() }
    }

    pub fn session_id(&self) -> Option<SessionId> {
        self.session
    }

    /// Logs an event. It is said of the run, the session or the cell, as its kind demands.
    pub fn event(&self, event: Event) {
        let (session, cell) = (self.session, self.cell.clone());
        let entry = Entry::Event { at: Instant::now(), session, cell, event: Box::new(event) };
        // If the writer is gone it has failed, and `Writer::finish` returns the reason.
        let _ = self.entries.send(entry);
    }

    /// Resolves when the writer has failed; [`Writer::finish`] returns the reason.
    pub async fn broken(&self) {
        self.entries.closed().await;
    }

    /// Waits until all events so far are in the file. Returns false if the writer has failed.
    pub async fn flush(&self) -> bool {
        let (done, flushed) = oneshot::channel();
        self.entries.send(Entry::Flush(done)).is_ok() && flushed.await.is_ok()
    }
}

fn write(
    mut file: std::fs::File,
    start: Instant,
    mut queue: mpsc::UnboundedReceiver<Entry>,
    observe: impl Fn(&Line, &str),
) -> io::Result<()> {
    let mut seq = 0;
    while let Some(entry) = queue.blocking_recv() {
        match entry {
            Entry::Event { at, session, cell, event } => {
                let ms = u64::try_from(at.duration_since(start).as_millis()).unwrap_or(u64::MAX);
                let line = Line::new(seq, ms, session, cell.as_ref(), *event);
                let text = escape::json(&serde_json::to_string(&line)?) + "\n";
                // Each line is one write, so that readers and crashes find whole lines.
                file.write_all(text.as_bytes())?;
                observe(&line, &text);
                seq += 1;
            }
            Entry::Flush(done) => drop(done.send(())),
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_numbered_and_belong_to_their_cells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let (log, writer) = EventLog::create(&path, |_, _| ()).unwrap();
        let cell = log.cell(&"a@k".parse().unwrap());
        log.event(Event::RunEnded);
        for session in [cell.new_session(), cell.new_session()] {
            session.event(Event::SessionStarted);
            session.event(Event::CellStarted { session: session.session_id(), place: None });
        }
        assert!(cell.flush().await);
        let text = std::fs::read_to_string(&path).unwrap();
        drop((log, cell));
        writer.finish().await.unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let seen: Vec<_> =
            lines.iter().map(|l| (l.seq, l.session, l.cell.as_ref().map(Key::as_str))).collect();
        let of_cell = |seq| (seq, None, Some("a@k"));
        assert_eq!(seen, [(0, None, None), (1, Some(0), None), of_cell(2), (3, Some(1), None), of_cell(4)]);
    }

    #[tokio::test]
    async fn a_second_log_in_the_same_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let _first = EventLog::create(&path, |_, _| ()).unwrap();
        assert!(EventLog::create(&path, |_, _| ()).is_err());
    }
}
