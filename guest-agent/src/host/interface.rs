//! The network interface of a physical function, and the frames that it exchanges with the guest that has the virtual
//! one (packet(7)).

use super::Host;
use crate::agent::Answers;
use crate::pci::Address;
use crate::{fault, root::Root, waits};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, send, socket_with};
use s2lab_protocol::ask::{Direction, Frames, Transferred};
use s2lab_protocol::ethernet::{
    FRAME_LENGTH, FRAME_TYPE, GUEST_ADDRESS, HOST_ADDRESS, HardwareAddress, MOST_FRAMES, fill_frame,
    frame_difference, frames_of, start,
};
use s2lab_protocol::{Facility, Failure};
use std::path::PathBuf;
use std::time::Duration;

/// AF_PACKET.
const PACKET: AddressFamily = AddressFamily::from_raw(17);
/// SIOCSIFFLAGS, and the flags IFF_UP and IFF_MULTICAST (include/uapi/linux/sockios.h and if.h).
const SET_FLAGS: Opcode = 0x8914;
const UP: i16 = 1 << 0 | 1 << 12;
/// The longest name of an interface, with a zero at its end (IFNAMSIZ).
const NAME: usize = 16;
/// The time in which an interface comes up (QEMU's 82576 takes half a second, the driver looks every two seconds), and
/// the pause between two looks.
const COMES_UP: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// The time in which a frame is sent or comes.
const FRAME: Duration = Duration::from_secs(5);
/// Bytes that the kernel keeps for the socket: those of all frames of a request, each with what the kernel adds.
const KEPT: usize = MOST_FRAMES as usize * 16 * 1024;

impl Answers<Frames> for Host<'_> {
    fn answer(&mut self, ask: Frames) -> Result<Transferred, Failure> {
        let interface = self.interfaces.get(&ask.device);
        let none = || fault::invalid(format_args!("no guest has a virtual function of {:?}", ask.device));
        interface.ok_or_else(none)?.exchange(&ask)
    }
}

/// An interface that is up. Its frames for a guest, and those of the guest, go through the socket.
#[derive(Debug)]
pub(super) struct Interface {
    name: String,
    socket: OwnedFd,
}

impl Interface {
    /// Switches the interface of a physical function on, and waits until it has its link.
    pub(super) fn up(root: &Root, physical: &Address) -> Result<Interface, Failure> {
        let folder = physical.folder().join("net");
        let name = waits::until(COMES_UP, PAUSE, || only_entry(root, &folder));
        let name =
            name.ok_or_else(|| fault::system("find", "an interface", format_args!("of {physical}")))?;
        let failed = |doing: &'static str| {
            let name = name.clone();
            move |why: &dyn std::fmt::Display| fault::system(doing, format_args!("the interface {name}"), why)
        };
        let file = |file: &str| root.read(folder.join(&name).join(file)).unwrap_or_default();
        let (due, found) = (written(HOST_ADDRESS), file("address"));
        if found != due {
            return Err(failed("use")(&format_args!("its address is {found}, not {due}")));
        }
        let socket = socket()?;
        set_up(&socket, &name).map_err(|why| failed("switch on")(&why))?;
        let is_up = || (file("operstate") == "up").then_some(());
        waits::until(COMES_UP, PAUSE, is_up)
            .ok_or_else(|| failed("switch on")(&format_args!("it is {:?}", file("operstate"))))?;
        // The kernel drops frames until its work after the state has changed is done. It holds a lock meanwhile, which
        // this call needs too (Linux 7.3 net/core/link_watch.c, linkwatch_do_dev).
        set_up(&socket, &name).map_err(|why| failed("switch on")(&why))?;
        let index = file("ifindex").parse::<i32>().map_err(|why| failed("find the number of")(&why))?;
        bind(&socket, &LinkAddress::of(index)).map_err(|why| failed("receive from")(&why))?;
        Ok(Interface { name, socket })
    }

    fn exchange(&self, ask: &Frames) -> Result<Transferred, Failure> {
        let Frames { direction, bytes, seed, .. } = *ask;
        let frames =
            frames_of(bytes).ok_or_else(|| fault::invalid(format_args!("{bytes} bytes of frames")))?;
        let failed = |doing| move |why| fault::system(doing, format_args!("frames by {}", self.name), why);
        let first_difference = match direction {
            Direction::Write => self.send(frames, seed).map(|()| None).map_err(failed("send"))?,
            Direction::Read => self.receive(frames, seed).map_err(failed("receive"))?,
        };
        Ok(Transferred { direction, bytes, first_difference })
    }

    fn send(&self, frames: u16, seed: u64) -> rustix::io::Result<()> {
        let mut frame = [0; FRAME_LENGTH];
        for number in 0..frames {
            fill_frame(&mut frame, HOST_ADDRESS, GUEST_ADDRESS, number, seed);
            if send(&self.socket, &frame, SendFlags::empty())? != FRAME_LENGTH {
                return Err(Errno::MSGSIZE);
            }
        }
        Ok(())
    }

    /// Returns the offset of the first word that is not that of the pattern. A frame that does not come differs as a
    /// whole.
    fn receive(&self, frames: u16, seed: u64) -> rustix::io::Result<Option<u64>> {
        // A longer frame is cut, and is still longer than one of a guest.
        let mut buffer = [0; FRAME_LENGTH + 1];
        let mut difference = None;
        for number in 0..frames {
            let length = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(difference.or(Some(start(number)))),
                Err(why) => return Err(why),
            };
            let frame = buffer.get(..length).unwrap_or(&buffer);
            difference = difference.or(frame_difference(frame, GUEST_ADDRESS, HOST_ADDRESS, number, seed));
        }
        Ok(difference)
    }
}

/// Returns the only entry of a folder.
fn only_entry(root: &Root, folder: &PathBuf) -> Option<String> {
    let mut entries = std::fs::read_dir(root.path(folder)).ok()?.flatten();
    let name = entries.next()?.file_name().into_string().ok()?;
    entries.next().is_none().then_some(name)
}

/// Returns an address as sysfs has it.
fn written(address: HardwareAddress) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

/// Opens a socket for the frames, which is not bound yet.
fn socket() -> Result<OwnedFd, Failure> {
    let protocol = std::num::NonZero::new(FRAME_TYPE.to_be().into()).map(Protocol::from_raw);
    let socket = socket_with(PACKET, SocketType::RAW, SocketFlags::CLOEXEC, protocol);
    let socket = socket.map_err(|why| match why {
        Errno::AFNOSUPPORT => fault::missing(Facility::PacketSockets, "the kernel has no sockets for frames"),
        why => fault::system("open", "a socket for frames", why),
    })?;
    let prepared = set_socket_timeout(&socket, Timeout::Recv, Some(FRAME))
        .and_then(|()| set_socket_timeout(&socket, Timeout::Send, Some(FRAME)))
        .and_then(|()| set_socket_recv_buffer_size_force(&socket, KEPT));
    prepared.map_err(|why| fault::system("prepare", "a socket for frames", why))?;
    Ok(socket)
}

/// Switches an interface on.
fn set_up(socket: impl AsFd, name: &str) -> rustix::io::Result<()> {
    /// `struct ifreq` with flags.
    #[repr(C)]
    struct Request {
        name: [u8; NAME],
        flags: i16,
        _rest: [u8; 22],
    }
    let mut request = Request { name: [0; NAME], flags: UP, _rest: [0; 22] };
    let place = request.name.get_mut(..name.len()).filter(|place| place.len() < NAME);
    place.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads the request.
    unsafe { ioctl(socket, Setter::<SET_FLAGS, Request>::new(request)) }
}

/// `struct sockaddr_ll`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct LinkAddress {
    family: u16,
    /// Big-endian.
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

impl LinkAddress {
    /// All frames of [`FRAME_TYPE`] of the interface with this number.
    fn of(index: i32) -> LinkAddress {
        LinkAddress {
            family: PACKET.as_raw(),
            protocol: FRAME_TYPE.to_be(),
            index,
            hardware_type: 0,
            packet_type: 0,
            address_length: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the structure is the kernel's, and begins with the family.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f((&raw const *self).cast(), size_of::<LinkAddress>() as SocketAddrLen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::socketpair;
    use s2lab_protocol::ethernet::FRAME_DATA;

    /// Returns two ends whose messages are frames of an interface and of a guest.
    fn pair() -> (Interface, OwnedFd) {
        let (socket, guest) =
            socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(20))).unwrap();
        (Interface { name: "eth0".into(), socket }, guest)
    }

    fn ask(direction: Direction, frames: u64) -> Frames {
        Frames { device: "nic".into(), direction, bytes: frames * FRAME_DATA, seed: 5 }
    }

    #[test]
    fn frames_of_a_guest_are_compared() {
        let (interface, guest) = pair();
        let read = |frames| interface.exchange(&ask(Direction::Read, frames)).unwrap().first_difference;
        let sent = |number: u16, seed: u64, change: fn(&mut [u8; FRAME_LENGTH])| {
            let mut frame = [0; FRAME_LENGTH];
            fill_frame(&mut frame, GUEST_ADDRESS, HOST_ADDRESS, number, seed);
            change(&mut frame);
            send(&guest, &frame, SendFlags::empty()).unwrap();
        };
        (0..3).for_each(|number| sent(number, 5, |_| ()));
        assert_eq!(read(3), None);
        sent(0, 5, |_| ());
        assert_eq!(read(2), Some(FRAME_DATA), "the second one did not come");
        sent(0, 5, |frame| frame[FRAME_LENGTH - 9] ^= 1);
        assert_eq!(read(1), Some(FRAME_DATA - 16));
        send(&guest, &[0; 2 * FRAME_LENGTH], SendFlags::empty()).unwrap();
        assert_eq!(read(1), Some(0), "another frame");
        assert!(interface.exchange(&ask(Direction::Read, 65)).is_err());
    }

    #[test]
    fn frames_for_a_guest_have_the_pattern() {
        let (interface, guest) = pair();
        interface.exchange(&ask(Direction::Write, 2)).unwrap();
        for number in 0..2 {
            let mut frame = [0; FRAME_LENGTH + 1];
            let (length, _) = recv(&guest, &mut frame[..], RecvFlags::empty()).unwrap();
            let difference = frame_difference(&frame[..length], HOST_ADDRESS, GUEST_ADDRESS, number, 5);
            assert_eq!(difference, None);
        }
    }

    #[test]
    fn the_kernels_structures_have_their_sizes() {
        assert_eq!(size_of::<LinkAddress>(), 20);
        assert_eq!(written(HOST_ADDRESS), "02:73:32:6c:61:68");
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_up(&null, "eth0"), Err(Errno::NOTTY));
        assert_eq!(set_up(&null, "0123456789abcdef"), Err(Errno::NAMETOOLONG));
    }
}
