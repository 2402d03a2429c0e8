//! The virtio-serial port that leads one level down, to s2lab or to the host's agent.

use crate::root::Root;
use crate::waits;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time in which the port must appear once the modules are loaded.
const APPEARS: Duration = Duration::from_secs(30);
/// The longest time in which the other side may take no byte.
const TAKES: Duration = Duration::from_secs(60);
/// While nobody is connected `poll` says POLLHUP at once, for ever (drivers/char/virtio_console.c,
/// port_fops_poll).
const RETRY: Duration = Duration::from_millis(5);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("no virtio-serial port named {name} within {} s (CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_CONSOLE)", APPEARS.as_secs())]
    Absent { name: &'static str },
    #[error("cannot open {device}: {why}")]
    Open { device: String, why: Errno },
}

/// An open port. Clones share it; reads and writes wait, although the port itself is in
/// non-blocking mode: a blocking write spins in the kernel with interrupts off until the other side
/// has taken the bytes (__send_to_port).
#[derive(Debug, Clone)]
pub(crate) struct Port(Arc<OwnedFd>);

impl Port {
    /// Waits for the port of that name and opens it.
    pub(crate) fn open(root: &Root, name: &'static str) -> Result<Port, PortError> {
        let device = waits::until(APPEARS, RETRY, || find(root, name)).ok_or(PortError::Absent { name })?;
        let path = root.path("dev").join(&device);
        // devtmpfs makes the node before the device is announced in sysfs, so it is there.
        match rustix::fs::open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Port(Arc::new(fd))),
            Err(why) => Err(PortError::Open { device: path.display().to_string(), why }),
        }
    }

    /// A channel that is open already, in a port's place.
    pub(crate) fn on(channel: OwnedFd) -> Result<Port, PortError> {
        let flags = rustix::fs::fcntl_getfl(&channel);
        let set = flags.and_then(|flags| rustix::fs::fcntl_setfl(&channel, flags | OFlags::NONBLOCK));
        set.map_err(|why| PortError::Open { device: "the channel".to_owned(), why })?;
        Ok(Port(Arc::new(channel)))
    }

    /// From now on a write returns only when the other side has taken the bytes: for the last frame
    /// before power-off.
    pub(crate) fn deliver_at_once(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&*self.0)?;
        Ok(rustix::fs::fcntl_setfl(&*self.0, flags - OFlags::NONBLOCK)?)
    }

    /// Waits until the port is ready for `wanted`, at most `limit`. False when nobody is connected.
    fn wait(&self, wanted: PollFlags, limit: Duration) -> io::Result<bool> {
        let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut fds = [PollFd::new(&*self.0, wanted)];
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents().contains(wanted)),
            Err(why) => Err(why.into()),
        }
    }
}

/// `vportNpM` of the port with that name.
fn find(root: &Root, wanted: &str) -> Option<String> {
    let ports = std::fs::read_dir(root.path("sys/class/virtio-ports")).ok()?;
    ports.flatten().find_map(|port| {
        let device = port.file_name().into_string().ok()?;
        let name = root.read(format!("sys/class/virtio-ports/{device}/name")).ok()?;
        (name == wanted).then_some(device)
    })
}

impl Read for Port {
    /// Waits for the first bytes. There is no end: a port whose other side left waits for the next
    /// one.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.wait(PollFlags::IN, Duration::from_secs(1))? {
                match rustix::io::read(&*self.0, &mut *buffer) {
                    Ok(0) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(n) => return Ok(n),
                    Err(why) => return Err(why.into()),
                }
            }
            // Costs nothing when poll waited, and keeps POLLHUP from spinning.
            std::thread::sleep(RETRY);
        }
    }
}

impl Write for Port {
    /// Waits until some bytes are taken, at most [`TAKES`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            match rustix::io::write(&*self.0, bytes) {
                Ok(0) | Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(n) => return Ok(n),
                Err(why) => return Err(why.into()),
            }
            if begin.elapsed() > TAKES {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads the port"));
            }
            if !self.wait(PollFlags::OUT, Duration::from_secs(1))? {
                std::thread::sleep(RETRY);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::AGENT_PORT;

    #[test]
    fn the_port_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(find(&root, AGENT_PORT), None);
        for (device, name) in [
            ("vport1p1", "org.other\n"),
            ("vport2p2", "s2lab-ssh\n"),
            ("vport2p1", "s2lab\n"),
            ("vport3p0", ""),
        ] {
            let port = folder.path().join("sys/class/virtio-ports").join(device);
            std::fs::create_dir_all(&port).unwrap();
            std::fs::write(port.join("name"), name).unwrap();
        }
        assert_eq!(find(&root, AGENT_PORT).as_deref(), Some("vport2p1"));
        assert_eq!(find(&root, "s2lab-ssh").as_deref(), Some("vport2p2"));
    }
}
