//! ssh into the host, for people and for diagnosis: a port of its own, bridged to `dropbear -i`. It
//! does nothing before the first bytes come, so that a cell without ssh loses no time.

use crate::link::{Link, LinkError};
use crate::port::{Port, PortError};
use crate::root::Root;
use rustix::mount::{MountFlags, mount};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The name of the port.
const PORT: &str = "s2lab-ssh";
const DROPBEAR: &str = "/usr/sbin/dropbear";
/// dropbear's arguments. `-i`: one connection on stdin, which must be a socket; `-B`: a blank
/// password is enough, because the port is s2lab's alone; `-R`: a host key is made when one is
/// needed; `-m`, `-j`, `-k`: no message of the day, no forwarding.
const ARGUMENTS: [&str; 6] = ["-i", "-B", "-R", "-m", "-j", "-k"];
/// The first bytes of every ssh client (RFC 4253 section 4.2).
const GREETING: &[u8] = b"SSH-2.0-";
/// The bytes that pass at a time.
const CHUNK: usize = 32 * 1024;

/// Serves the port in a thread, for ever. Without the port there is no ssh, and everything else
/// works.
pub(super) fn start(root: &Root, link: &Arc<Link>) -> Result<(), LinkError> {
    let (root, notes) = (root.clone(), Arc::clone(link));
    let started = std::thread::Builder::new().spawn(move || {
        let why = serve(&root, &notes).map_or_else(|why| why, |never| match never {});
        // A failure of the link ends the machine elsewhere.
        drop(notes.log(format!("no ssh: {why}")));
    });
    started.map(drop).map_err(|why| LinkError::Stream { doing: "starting ssh beside", why })
}

/// The reason why ssh has ended.
#[derive(Debug, thiserror::Error)]
enum SshError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("cannot read port {PORT}: {0}")]
    Read(io::Error),
}

fn serve(root: &Root, link: &Link) -> Result<std::convert::Infallible, SshError> {
    let mut port = Port::open(root, PORT)?;
    let mut session: Option<Session> = None;
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = port.read(&mut chunk).map_err(SshError::Read)?;
        let bytes = chunk.get(..n).unwrap_or_default();
        if bytes.starts_with(GREETING) {
            // The client has left the earlier one, if there is one.
            drop(session.take());
            match Session::start(port.clone()) {
                Ok(started) => session = Some(started),
                Err(why) => drop(link.log(format!("cannot start dropbear: {why}"))),
            }
        }
        // Bytes after dropbear's end come from a client that has not noticed it yet.
        if session.as_mut().is_some_and(|session| session.socket.write_all(bytes).is_err()) {
            session = None;
        }
    }
}

/// A dropbear that runs.
struct Session {
    child: Child,
    socket: UnixStream,
    /// The thread that copies dropbear's output to the port, until dropbear's end.
    pump: Option<JoinHandle<()>>,
}

impl Session {
    fn start(mut port: Port) -> io::Result<Session> {
        // Both exist from the second time on. A terminal needs devpts; commands work without it.
        let _ = std::fs::create_dir("/dev/pts");
        let _ = mount("devpts", "/dev/pts", "devpts", MountFlags::empty(), None);
        let (socket, theirs) = UnixStream::pair()?;
        let mut heard = socket.try_clone()?;
        let mut command = Command::new(DROPBEAR);
        command.args(ARGUMENTS).env_clear().current_dir("/");
        // dropbear reads and writes its stdin; stdout is not used, stderr gets a log that nobody
        // reads.
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        // The command has dropbear's end of the pair, which must be closed here so that dropbear's
        // end closes the pair.
        drop(command);
        // From here on dropping the session ends the child.
        let mut session = Session { child, socket, pump: None };
        let pump = std::thread::Builder::new().spawn(move || drop(io::copy(&mut heard, &mut port)))?;
        session.pump = Some(pump);
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself. The hang-up ends the shells of its client.
        let _ = (self.child.kill(), self.child.wait());
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.pump.take().map(JoinHandle::join);
    }
}
