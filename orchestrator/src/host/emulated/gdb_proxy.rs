//! A proxy between QEMU's gdbstub and its two users: s2lab, which looks at the machine, and a
//! person's gdb.
//!
//! QEMU has one gdbstub, and its newest connection ends the one before (QEMU 10.0 gdbstub/system.c,
//! gdbserver_start). The client's gdb talks to QEMU through this proxy, and s2lab borrows the stub:
//! only while the machine runs, for then gdb waits for a stop and nothing else. When s2lab gives
//! the stub back, it resumes the machine with gdb's own last command, so that gdb gets the next
//! stop reply.

use super::packets::{Input, PacketError, Packets};
use s2lab_os::waits::timeout;
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// The command by which gdb resumes a machine.
const CONTINUE: &[u8] = b"c";
/// The stop reply of a stop that a client asked for, SIGINT: also after QMP has stopped the
/// machine.
const INTERRUPTED: &[u8] = b"T02";

/// The stub on its way back, with a packet for gdb that came meanwhile.
type Returned = (Stub, Option<Vec<u8>>);
type Returns = mpsc::Receiver<Returned>;

/// s2lab's handle of the proxy. Dropping it ends the client's connection.
pub(super) struct GdbProxy {
    requests: mpsc::Sender<oneshot::Sender<Stub>>,
    returns: mpsc::Sender<Returned>,
    attached: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// The stub itself, and the command that has resumed the machine. Its reply comes when the machine
/// stops.
pub(super) struct Stub {
    pub(super) packets: Packets,
    pub(super) resumed_by: Option<Vec<u8>>,
    /// That reply has come to s2lab, which has stopped the machine itself.
    pub(super) stop_seen: bool,
}

impl Drop for GdbProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GdbProxy {
    /// Starts the proxy of a machine that does not run. Each answer of the stub may take until
    /// `deadline`.
    pub(super) fn new(packets: Packets, listener: UnixListener, deadline: Duration) -> Self {
        let (requests, requested) = mpsc::channel(1);
        let (returns, returned) = mpsc::channel(1);
        let (notify, attached) = watch::channel(false);
        let stub = Stub { packets, resumed_by: None, stop_seen: false };
        let server = Server { stub, interrupted: false, deadline };
        let task = tokio::spawn(async move {
            if let Err(error) = serve(server, listener, requested, returned, notify).await {
                tracing::info!("the proxy of the gdbstub has ended: {error}");
            }
        });
        Self { requests, returns, attached, task }
    }

    /// Resolves once a person's gdb has attached; never if the stub is gone before.
    pub(super) async fn attached(&mut self) {
        if self.attached.wait_for(|attached| *attached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the machine runs, and borrows the stub. Returns None if the stub is gone.
    pub(super) async fn borrow(&self) -> Option<Stub> {
        let (grant, granted) = oneshot::channel();
        self.requests.send(grant).await.ok()?;
        granted.await.ok()
    }

    /// Gives the stub back. `event` is a packet for gdb that came meanwhile.
    pub(super) async fn give_back(&self, stub: Stub, event: Option<Vec<u8>>) {
        // A proxy that has ended serves nobody.
        let _ = self.returns.send((stub, event)).await;
    }
}

/// Returns true for the reply of a stop that QMP has brought about, and false for one that gdb must
/// get.
pub(super) fn is_ours(packet: &[u8]) -> bool {
    packet.starts_with(INTERRUPTED)
}

#[derive(Debug, thiserror::Error)]
enum ProxyError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("no answer in {0:?}")]
    Silent(Duration),
    #[error("s2lab has not given the stub back")]
    NotReturned,
}

/// The task's side of the proxy.
struct Server {
    stub: Stub,
    /// The client has asked for a stop that has not come yet.
    interrupted: bool,
    deadline: Duration,
}

/// The connection of a person's gdb.
struct GdbClient {
    packets: Packets,
    /// The packets that remove the breakpoints and watchpoints which it has set.
    undo: BTreeSet<Vec<u8>>,
    /// It has sent `D`, and is about to close.
    detached: bool,
}

impl Server {
    async fn answer(&mut self) -> Result<Vec<u8>, ProxyError> {
        let answer = timeout(self.deadline, self.stub.packets.packet()).await;
        Ok(answer.map_err(|_| ProxyError::Silent(self.deadline))??)
    }

    async fn resume(&mut self, command: Vec<u8>) -> Result<(), ProxyError> {
        self.stub.packets.send(&command).await?;
        self.stub.resumed_by = Some(command);
        Ok(())
    }

    /// Stops a machine that runs.
    async fn halt(&mut self) -> Result<(), ProxyError> {
        if self.stub.resumed_by.is_some() {
            self.stub.packets.interrupt().await?;
            self.answer().await?;
            (self.stub.resumed_by, self.interrupted) = (None, false);
        }
        Ok(())
    }

    /// Cleans up after a client that has left, perhaps without a `D`: the machine runs on without
    /// its breakpoints.
    async fn left(&mut self, client: &mut GdbClient) -> Result<(), ProxyError> {
        if std::mem::replace(&mut client.detached, true) {
            return Ok(());
        }
        let undo = std::mem::take(&mut client.undo);
        if !undo.is_empty() {
            self.halt().await?;
        }
        for undo in undo {
            self.stub.packets.send(&undo).await?;
            self.answer().await?;
        }
        if self.stub.resumed_by.is_none() {
            self.resume(CONTINUE.into()).await?;
        }
        Ok(())
    }

    /// Passes a packet of the client on to the stub. Returns false if the client leaves.
    async fn pass(&mut self, client: &mut GdbClient, packet: Vec<u8>) -> Result<bool, ProxyError> {
        let first = packet.first();
        if self.stub.resumed_by.is_some() {
            // A correct gdb sends nothing now, and QEMU would take it for an interrupt (QEMU 10.0
            // gdbstub/gdbstub.c, gdb_read_byte).
            return Ok(true);
        }
        if first == Some(&b'D') {
            // After a `D` QEMU would serve nobody any more.
            self.left(client).await?;
            return Ok(client.packets.send(b"OK").await.is_ok());
        }
        if first.is_some_and(|first| b"cCsS".contains(first)) || packet.starts_with(b"vCont;") {
            self.resume(packet).await?;
            return Ok(true);
        }
        self.stub.packets.send(&packet).await?;
        if first == Some(&b'k') {
            // This packet ends QEMU, and has no answer.
            return Ok(true);
        }
        loop {
            let answer = self.answer().await?;
            // The output of a monitor command comes before its answer.
            let printed = answer.first() == Some(&b'O') && answer != b"OK";
            if answer == b"OK" {
                client.note(&packet);
            }
            if client.packets.send(&answer).await.is_err() {
                return Ok(false);
            }
            if !printed {
                return Ok(true);
            }
        }
    }
}

impl GdbClient {
    /// Notes how to undo a packet that the stub has accepted.
    fn note(&mut self, packet: &[u8]) {
        match packet.split_first() {
            Some((b'Z', rest)) => drop(self.undo.insert([b"z", rest].concat())),
            Some((b'z', _)) => drop(self.undo.remove(packet)),
            _ => {}
        }
    }
}

/// The client's next input; pends for ever if there is no client.
async fn input(client: &mut Option<GdbClient>) -> Result<Input, PacketError> {
    match client {
        Some(client) => client.packets.next().await,
        None => std::future::pending().await,
    }
}

/// The stub's server and the person's gdb, if one has attached.
struct Connection {
    server: Server,
    client: Option<GdbClient>,
}

impl Connection {
    /// A person's gdb attaches: the machine stops for it.
    async fn attach(&mut self, stream: UnixStream) -> Result<(), ProxyError> {
        self.server.halt().await?;
        let packets = Packets::new(stream);
        self.client = Some(GdbClient { packets, undo: BTreeSet::new(), detached: false });
        Ok(())
    }

    /// Serves the client's input. A client that has left is cleaned up after.
    async fn serve(&mut self, input: Result<Input, PacketError>) -> Result<(), ProxyError> {
        let stays = match (input, &mut self.client) {
            (Ok(Input::Interrupt), _) => {
                if self.server.stub.resumed_by.is_some() {
                    self.server.stub.packets.interrupt().await?;
                    self.server.interrupted = true;
                }
                true
            }
            (Ok(Input::Packet(packet)), Some(client)) => self.server.pass(client, packet).await?,
            (Ok(_), None) | (Err(_), _) => false,
        };
        if !stays && let Some(mut client) = self.client.take() {
            self.server.left(&mut client).await?;
        }
        Ok(())
    }

    /// Passes on what the stub says of a machine that ran: output, or its stop.
    async fn stopped(&mut self, packet: &[u8]) {
        if packet.first() != Some(&b'O') {
            (self.server.stub.resumed_by, self.server.interrupted) = (None, false);
        }
        self.send(packet).await;
    }

    /// Lends the stub to s2lab until it comes back.
    async fn lend(
        mut self,
        request: oneshot::Sender<Stub>,
        returns: &mut Returns,
    ) -> Result<Self, ProxyError> {
        let event;
        (self.server.stub, event) = match request.send(self.server.stub) {
            Ok(()) => returns.recv().await.ok_or(ProxyError::NotReturned)?,
            // The request was dropped.
            Err(stub) => (stub, None),
        };
        if let Some(event) = event {
            self.server.stub.resumed_by = None;
            self.send(&event).await;
        }
        Ok(self)
    }

    async fn send(&mut self, packet: &[u8]) {
        if let Some(client) = &mut self.client {
            // If the client has gone, the next input says so.
            let _ = client.packets.send(packet).await;
        }
    }
}

async fn serve(
    server: Server,
    listener: UnixListener,
    mut requests: mpsc::Receiver<oneshot::Sender<Stub>>,
    mut returns: Returns,
    attached: watch::Sender<bool>,
) -> Result<(), ProxyError> {
    let mut both = Connection { server, client: None };
    loop {
        let runs = both.server.stub.resumed_by.is_some();
        tokio::select! {
            // A second gdb waits in the listener's queue until the first has left.
            accepted = listener.accept(), if both.client.is_none() => {
                both.attach(accepted.map_err(PacketError::from)?.0).await?;
                attached.send_replace(true);
            }
            input = input(&mut both.client) => both.serve(input).await?,
            stopped = both.server.stub.packets.packet(), if runs => both.stopped(&stopped?).await,
            request = requests.recv(), if runs && !both.server.interrupted => {
                let Some(request) = request else { return Ok(()) };
                both = both.lend(request, &mut returns).await?;
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

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A stub that keeps to the protocol; `runs` is the state of its machine.
    async fn stub(mut packets: Packets, runs: Arc<AtomicBool>, heard: mpsc::UnboundedSender<String>) {
        while let Ok(said) = packets.next().await {
            let said = match said {
                Input::Packet(packet) => String::from_utf8(packet).unwrap(),
                Input::Interrupt => "interrupt".into(),
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

    struct Setup {
        proxy: GdbProxy,
        runs: Arc<AtomicBool>,
        heard: mpsc::UnboundedReceiver<String>,
        folder: tempfile::TempDir,
    }

    impl Setup {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join("gdb")).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (sender, heard) = mpsc::unbounded_channel();
            let runs = Arc::new(AtomicBool::new(false));
            tokio::spawn(stub(Packets::new(theirs), Arc::clone(&runs), sender));
            let proxy = GdbProxy::new(Packets::new(ours), listener, DEADLINE);
            Self { proxy, runs, heard, folder }
        }

        async fn gdb(&self) -> Packets {
            Packets::new(UnixStream::connect(self.folder.path().join("gdb")).await.unwrap())
        }

        /// The packets that the stub gets up to `last`.
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
    async fn the_stub_is_lent_while_the_machine_runs_and_not_while_gdb_has_stopped_it() {
        let mut setup = Setup::new();
        let mut gdb = setup.gdb().await;
        setup.proxy.attached().await;
        assert_eq!(asks(&mut gdb, "?").await, b"OK");
        let short = Duration::from_millis(200);
        assert!(timeout(short, setup.proxy.borrow()).await.is_err(), "gdb has not let it run");
        gdb.send(b"vCont;c").await.unwrap();
        let stub = timeout(DEADLINE, setup.proxy.borrow()).await.unwrap().unwrap();
        assert_eq!(stub.resumed_by.as_deref(), Some(b"vCont;c".as_slice()));
        // A request of gdb waits until the stub is given back.
        gdb.interrupt().await.unwrap();
        tokio::time::sleep(short).await;
        assert!(setup.runs.load(Ordering::SeqCst));
        setup.proxy.give_back(stub, None).await;
        assert_eq!(timeout(DEADLINE, gdb.packet()).await.unwrap().unwrap(), b"T02thread:01;");
        assert!(timeout(short, setup.proxy.borrow()).await.is_err(), "gdb has stopped it");
    }

    #[tokio::test]
    async fn a_stop_that_s2lab_met_is_passed_on_to_gdb() {
        let mut setup = Setup::new();
        let mut gdb = setup.gdb().await;
        setup.proxy.attached().await;
        gdb.send(b"c").await.unwrap();
        let stub = setup.proxy.borrow().await.unwrap();
        assert!(!is_ours(b"T05thread:02;") && is_ours(b"T02thread:02;"));
        setup.proxy.give_back(stub, Some(b"T05thread:02;".into())).await;
        assert_eq!(timeout(DEADLINE, gdb.packet()).await.unwrap().unwrap(), b"T05thread:02;");
        assert!(timeout(Duration::from_millis(200), setup.proxy.borrow()).await.is_err());
    }

    #[tokio::test]
    async fn a_gdb_that_goes_leaves_a_machine_that_runs_without_breakpoints() {
        for detaches in [true, false] {
            let mut setup = Setup::new();
            let mut gdb = setup.gdb().await;
            assert_eq!(asks(&mut gdb, "Z0,40200000,4").await, b"OK");
            assert_eq!(asks(&mut gdb, "Z1,8,4").await, b"OK");
            assert_eq!(asks(&mut gdb, "z1,8,4").await, b"OK");
            if detaches {
                assert_eq!(asks(&mut gdb, "D").await, b"OK");
            } else {
                gdb.send(b"c").await.unwrap();
                setup.hears("c").await;
            }
            drop(gdb);
            let heard = setup.hears("c").await;
            let heard: Vec<_> = heard.iter().map(String::as_str).collect();
            match detaches {
                true => assert!(heard.ends_with(&["z1,8,4", "z0,40200000,4", "c"]), "{heard:?}"),
                false => assert_eq!(heard, ["interrupt", "z0,40200000,4", "c"]),
            }
            let stub = timeout(DEADLINE, setup.proxy.borrow()).await.unwrap();
            assert!(stub.is_some() && setup.runs.load(Ordering::SeqCst));
        }
    }

    #[tokio::test]
    async fn a_second_gdb_comes_after_the_first_and_finds_it_stopped() {
        let mut setup = Setup::new();
        let mut first = setup.gdb().await;
        first.send(b"c").await.unwrap();
        setup.hears("c").await;
        let mut second = setup.gdb().await;
        drop(first);
        assert_eq!(asks(&mut second, "?").await, b"OK");
        assert!(!setup.runs.load(Ordering::SeqCst));
    }
}
