//! One gdbstub for two: s2lab, which looks at the machine, and a person's gdb.
//!
//! QEMU has one gdbstub, and its newest connection ends the one before (QEMU 10.0 gdbstub/system.c, gdbserver_start). So the
//! person's gdb talks to QEMU through here, and s2lab takes turns with it: only while the machine runs, for then gdb waits for a
//! stop and nothing else. What a turn leaves is a machine that runs on by gdb's own last word, so that its next stop is told.

use super::packets::{Heard, PacketError, Packets};
use crate::waits::timeout;
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// How gdb lets a machine run.
const CONTINUE: &[u8] = b"c";
/// What the stub says of a stop that a client asked for, SIGINT: also when QMP has stopped the machine.
const INTERRUPTED: &[u8] = b"T02";

/// s2lab's side of the desk. Dropping it ends the person's connection.
pub(super) struct Desk {
    wishes: mpsc::Sender<oneshot::Sender<Turn>>,
    back: mpsc::Sender<(Turn, Option<Vec<u8>>)>,
    attached: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// The stub itself, and the word by which the machine runs, whose answer comes when it stops.
pub(super) struct Turn {
    pub(super) packets: Packets,
    pub(super) runs_by: Option<Vec<u8>>,
    /// That answer has come to s2lab, who has stopped the machine itself.
    pub(super) told: bool,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    /// For a machine that does not run. Each answer of the stub may take until `deadline`.
    pub(super) fn new(packets: Packets, listener: UnixListener, deadline: Duration) -> Self {
        let (wishes, asked) = mpsc::channel(1);
        let (back, returned) = mpsc::channel(1);
        let (tell, attached) = watch::channel(false);
        let stub = Stub { turn: Turn { packets, runs_by: None, told: false }, interrupted: false, deadline };
        let task = tokio::spawn(async move {
            if let Err(error) = serve(stub, listener, asked, returned, tell).await {
                tracing::info!("the gdbstub's desk is closed: {error}");
            }
        });
        Self { wishes, back, attached, task }
    }

    /// Resolves once a person's gdb was there; not at all if the stub has gone before.
    pub(super) async fn attached(&mut self) {
        if self.attached.wait_for(|attached| *attached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the machine runs, and takes the stub. None: it is gone.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let (grant, granted) = oneshot::channel();
        self.wishes.send(grant).await.ok()?;
        granted.await.ok()
    }

    /// Gives the stub back. `event` is what it said to gdb meanwhile.
    pub(super) async fn back(&self, turn: Turn, event: Option<Vec<u8>>) {
        // A desk that is closed has nobody to tell.
        let _ = self.back.send((turn, event)).await;
    }
}

/// Whether the stub tells of a stop that QMP has brought about, and not of one that gdb has to hear of.
pub(super) fn is_ours(packet: &[u8]) -> bool {
    packet.starts_with(INTERRUPTED)
}

#[derive(Debug, thiserror::Error)]
enum DeskError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("no answer in {0:?}")]
    Silent(Duration),
    #[error("s2lab has gone with the stub")]
    Kept,
}

struct Stub {
    turn: Turn,
    /// The person wants it to stop, and it has not yet.
    interrupted: bool,
    deadline: Duration,
}

/// A person's gdb.
struct Person {
    packets: Packets,
    /// What removes the breakpoints and watchpoints that it has set.
    undo: BTreeSet<Vec<u8>>,
    /// It has said goodbye, and is about to close.
    detached: bool,
}

impl Stub {
    async fn answer(&mut self) -> Result<Vec<u8>, DeskError> {
        let answer = timeout(self.deadline, self.turn.packets.packet()).await;
        Ok(answer.map_err(|_| DeskError::Silent(self.deadline))??)
    }

    async fn run(&mut self, word: Vec<u8>) -> Result<(), DeskError> {
        self.turn.packets.send(&word).await?;
        self.turn.runs_by = Some(word);
        Ok(())
    }

    /// Stops a machine that runs.
    async fn halt(&mut self) -> Result<(), DeskError> {
        if self.turn.runs_by.is_some() {
            self.turn.packets.interrupt().await?;
            self.answer().await?;
            (self.turn.runs_by, self.interrupted) = (None, false);
        }
        Ok(())
    }

    /// The person leaves, perhaps without a word: the machine runs on as if nobody had been there.
    async fn left(&mut self, person: &mut Person) -> Result<(), DeskError> {
        if std::mem::replace(&mut person.detached, true) {
            return Ok(());
        }
        let undo = std::mem::take(&mut person.undo);
        if !undo.is_empty() {
            self.halt().await?;
        }
        for undo in undo {
            self.turn.packets.send(&undo).await?;
            self.answer().await?;
        }
        if self.turn.runs_by.is_none() {
            self.run(CONTINUE.into()).await?;
        }
        Ok(())
    }

    /// Passes a packet of the person's on. False: they leave.
    async fn pass(&mut self, person: &mut Person, packet: Vec<u8>) -> Result<bool, DeskError> {
        let first = packet.first();
        if self.turn.runs_by.is_some() {
            // gdb knows better, and QEMU would take it for an interrupt (QEMU 10.0 gdbstub/gdbstub.c, gdb_read_byte).
            return Ok(true);
        }
        if first == Some(&b'D') {
            // QEMU would serve nobody any more.
            self.left(person).await?;
            return Ok(person.packets.send(b"OK").await.is_ok());
        }
        if first.is_some_and(|first| b"cCsS".contains(first)) || packet.starts_with(b"vCont;") {
            self.run(packet).await?;
            return Ok(true);
        }
        self.turn.packets.send(&packet).await?;
        if first == Some(&b'k') {
            // It ends QEMU, and has no answer.
            return Ok(true);
        }
        loop {
            let answer = self.answer().await?;
            // What a monitor command prints comes before its answer.
            let printed = answer.first() == Some(&b'O') && answer != b"OK";
            if answer == b"OK" {
                person.note(&packet);
            }
            if person.packets.send(&answer).await.is_err() {
                return Ok(false);
            }
            if !printed {
                return Ok(true);
            }
        }
    }
}

impl Person {
    /// Keeps in mind what is to be undone, after the stub has agreed.
    fn note(&mut self, packet: &[u8]) {
        match packet.split_first() {
            Some((b'Z', rest)) => drop(self.undo.insert([b"z", rest].concat())),
            Some((b'z', _)) => drop(self.undo.remove(packet)),
            _ => {}
        }
    }
}

/// What the person says; for ever nothing if there is none.
async fn heard(person: &mut Option<Person>) -> Result<Heard, PacketError> {
    match person {
        Some(person) => person.packets.hear().await,
        None => std::future::pending().await,
    }
}

async fn serve(
    mut stub: Stub,
    listener: UnixListener,
    mut wishes: mpsc::Receiver<oneshot::Sender<Turn>>,
    mut back: mpsc::Receiver<(Turn, Option<Vec<u8>>)>,
    attached: watch::Sender<bool>,
) -> Result<(), DeskError> {
    let mut person: Option<Person> = None;
    loop {
        let runs = stub.turn.runs_by.is_some();
        tokio::select! {
            // A second gdb waits in the listener's queue until the first has left.
            accepted = listener.accept(), if person.is_none() => {
                let (stream, _) = accepted.map_err(PacketError::from)?;
                stub.halt().await?;
                person = Some(Person { packets: Packets::new(stream), undo: BTreeSet::new(), detached: false });
                attached.send_replace(true);
            }
            said = heard(&mut person) => {
                let stays = match (said, &mut person) {
                    (Ok(Heard::Interrupt), _) => {
                        if runs {
                            stub.turn.packets.interrupt().await?;
                            stub.interrupted = true;
                        }
                        true
                    }
                    (Ok(Heard::Packet(packet)), Some(person)) => stub.pass(person, packet).await?,
                    (Ok(_), None) | (Err(_), _) => false,
                };
                if !stays && let Some(mut person) = person.take() {
                    stub.left(&mut person).await?;
                }
            }
            stopped = stub.turn.packets.packet(), if runs => {
                let stopped = stopped?;
                if stopped.first() != Some(&b'O') {
                    (stub.turn.runs_by, stub.interrupted) = (None, false);
                }
                if let Some(person) = &mut person {
                    // If they have gone, that is heard next.
                    let _ = person.packets.send(&stopped).await;
                }
            }
            wish = wishes.recv(), if runs && !stub.interrupted => {
                let Some(wish) = wish else { return Ok(()) };
                let event;
                (stub.turn, event) = match wish.send(stub.turn) {
                    Ok(()) => back.recv().await.ok_or(DeskError::Kept)?,
                    // Whoever asked does not want it any more.
                    Err(turn) => (turn, None),
                };
                if let Some(event) = event {
                    stub.turn.runs_by = None;
                    if let Some(person) = &mut person {
                        let _ = person.packets.send(&event).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    use tokio::net::UnixStream;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A stub that keeps to the protocol, and whether its machine runs.
    async fn stub(mut packets: Packets, runs: Arc<AtomicBool>, heard: mpsc::UnboundedSender<String>) {
        while let Ok(said) = packets.hear().await {
            let said = match said {
                Heard::Packet(packet) => String::from_utf8(packet).unwrap(),
                Heard::Interrupt => "interrupt".into(),
            };
            let answer = match said.as_str() {
                "c" | "vCont;c" => {
                    runs.store(true, Ordering::SeqCst);
                    None
                }
                "interrupt" => runs.swap(false, Ordering::SeqCst).then_some("T02thread:01;"),
                _ => Some("OK"),
            };
            heard.send(said).unwrap();
            if let Some(answer) = answer {
                packets.send(answer.as_bytes()).await.unwrap();
            }
        }
    }

    struct Place {
        desk: Desk,
        runs: Arc<AtomicBool>,
        heard: mpsc::UnboundedReceiver<String>,
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join("gdb")).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (tell, heard) = mpsc::unbounded_channel();
            let runs = Arc::new(AtomicBool::new(false));
            tokio::spawn(stub(Packets::new(theirs), Arc::clone(&runs), tell));
            let desk = Desk::new(Packets::new(ours), listener, DEADLINE);
            Self { desk, runs, heard, folder }
        }

        async fn gdb(&self) -> Packets {
            Packets::new(UnixStream::connect(self.folder.path().join("gdb")).await.unwrap())
        }

        /// What the stub hears up to `last`.
        async fn hears(&mut self, last: &str) -> Vec<String> {
            let mut all = vec![];
            while all.last().is_none_or(|said| said != last) {
                all.push(timeout(DEADLINE, self.heard.recv()).await.unwrap().unwrap());
            }
            all
        }
    }

    async fn asks(gdb: &mut Packets, packet: &str) -> Vec<u8> {
        gdb.send(packet.as_bytes()).await.unwrap();
        timeout(DEADLINE, gdb.packet()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_turn_comes_when_the_machine_runs_and_not_while_gdb_has_stopped_it() {
        let mut place = Place::new();
        let mut gdb = place.gdb().await;
        place.desk.attached().await;
        assert_eq!(asks(&mut gdb, "?").await, b"OK");
        let short = Duration::from_millis(200);
        assert!(timeout(short, place.desk.turn()).await.is_err(), "gdb has not let it run");
        gdb.send(b"vCont;c").await.unwrap();
        let turn = timeout(DEADLINE, place.desk.turn()).await.unwrap().unwrap();
        assert_eq!(turn.runs_by.as_deref(), Some(b"vCont;c".as_slice()));
        // What gdb wants meanwhile comes when the turn is over.
        gdb.interrupt().await.unwrap();
        tokio::time::sleep(short).await;
        assert!(place.runs.load(Ordering::SeqCst));
        place.desk.back(turn, None).await;
        assert_eq!(timeout(DEADLINE, gdb.packet()).await.unwrap().unwrap(), b"T02thread:01;");
        assert!(timeout(short, place.desk.turn()).await.is_err(), "gdb has stopped it");
    }

    #[tokio::test]
    async fn a_stop_that_s2lab_met_is_told_to_gdb() {
        let mut place = Place::new();
        let mut gdb = place.gdb().await;
        place.desk.attached().await;
        gdb.send(b"c").await.unwrap();
        let turn = place.desk.turn().await.unwrap();
        assert!(!is_ours(b"T05thread:02;") && is_ours(b"T02thread:02;"));
        place.desk.back(turn, Some(b"T05thread:02;".into())).await;
        assert_eq!(timeout(DEADLINE, gdb.packet()).await.unwrap().unwrap(), b"T05thread:02;");
        assert!(timeout(Duration::from_millis(200), place.desk.turn()).await.is_err());
    }

    #[tokio::test]
    async fn a_gdb_that_goes_leaves_a_machine_that_runs_without_breakpoints() {
        for detaches in [true, false] {
            let mut place = Place::new();
            let mut gdb = place.gdb().await;
            assert_eq!(asks(&mut gdb, "Z0,40200000,4").await, b"OK");
            assert_eq!(asks(&mut gdb, "Z1,8,4").await, b"OK");
            assert_eq!(asks(&mut gdb, "z1,8,4").await, b"OK");
            if detaches {
                assert_eq!(asks(&mut gdb, "D").await, b"OK");
            } else {
                gdb.send(b"c").await.unwrap();
                place.hears("c").await;
            }
            drop(gdb);
            let heard = place.hears("c").await;
            let heard: Vec<_> = heard.iter().map(String::as_str).collect();
            match detaches {
                true => assert!(heard.ends_with(&["z1,8,4", "z0,40200000,4", "c"]), "{heard:?}"),
                false => assert_eq!(heard, ["interrupt", "z0,40200000,4", "c"]),
            }
            let turn = timeout(DEADLINE, place.desk.turn()).await.unwrap();
            assert!(turn.is_some() && place.runs.load(Ordering::SeqCst));
        }
    }

    #[tokio::test]
    async fn a_second_gdb_comes_after_the_first_and_finds_it_stopped() {
        let mut place = Place::new();
        let mut first = place.gdb().await;
        first.send(b"c").await.unwrap();
        place.hears("c").await;
        let mut second = place.gdb().await;
        drop(first);
        assert_eq!(asks(&mut second, "?").await, b"OK");
        assert!(!place.runs.load(Ordering::SeqCst));
    }
}
