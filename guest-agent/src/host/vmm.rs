//! One guest's VMM: QEMU, started and ended. [`super::watch`] does everything in between.

use super::qmp;
use super::watch::{Streams, Watch};
use crate::exit::fatal;
use crate::link::Link;
use crate::pci::Address;
use crate::{fault, root::Root};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use s2lab_protocol::ask::StartGuest;
use s2lab_protocol::{Facility, Failure, LONGEST_NAME, is_name};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

const QEMU: &str = "usr/bin/qemu-system-aarch64";
/// The time for QEMU to start. Under TCG it takes 4.5 s on an idle machine.
const STARTS: Duration = Duration::from_secs(120);
/// The deadlines of each way to end QEMU: by QMP, by SIGTERM, by SIGKILL.
const ENDS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(5), Duration::from_secs(10)];
/// The slots of the guest's root bus that devices may take. Slot 0 is the host bridge.
const SLOTS: std::ops::RangeInclusive<u8> = 1..=31;

/// A VMM that was started.
pub(crate) struct Vmm {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    qmp: UnixStream,
    /// A channel that is closed when the process is gone and its end is reported.
    ended: Receiver<()>,
}

impl Vmm {
    /// Starts a guest. Returns when QEMU runs it, with QEMU's version and the link to the guest's
    /// agent. From then on exactly one [`s2lab_protocol::Notice::GuestEnded`] will be sent for it.
    pub(crate) fn start(
        root: &Root,
        spec: &StartGuest,
        nonce: u64,
        link: &Arc<Link>,
    ) -> Result<(Vmm, String, UnixStream), Failure> {
        if !root.exists("dev/kvm") {
            return Err(fault::missing(Facility::Kvm, "there is no /dev/kvm"));
        }
        let failed =
            |why: &dyn std::fmt::Display| fault::system("start", format_args!("guest {}", spec.name), why);
        let pair = || UnixStream::pair().map_err(|why| failed(&why));
        let ((guest, guest_end), (qmp, qmp_end)) = (pair()?, pair()?);
        let ends = [guest_end.as_raw_fd(), qmp_end.as_raw_fd()];
        let mut child =
            spawn(&root.path(QEMU), arguments(spec, nonce, ends)?, ends).map_err(|why| failed(&why))?;
        drop((guest_end, qmp_end));
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Arc::new(pidfd),
            Err(why) => {
                // A process that cannot be watched must not run. Both fail only if it is already
                // gone.
                let _ = (child.kill(), child.wait());
                return Err(failed(&why));
            }
        };
        let (last_word, ended) = sync_channel::<()>(0);
        let vmm = Vmm { pid: child.id(), pidfd: Arc::clone(&pidfd), qmp, ended };
        let (started, starts) = sync_channel(1);
        let watch = || -> io::Result<_> {
            let streams = Streams { pidfd, qmp: vmm.qmp.try_clone()?, guest: guest.try_clone()? };
            let watch = Watch::new(&spec.name, nonce, Arc::clone(link), child, streams, started)?;
            std::thread::Builder::new().spawn(move || {
                let _last_word = last_word;
                if let Err(why) = watch.run() {
                    fatal(why);
                }
            })
        };
        let outcome = match watch() {
            Ok(_) => {
                starts.recv_timeout(STARTS).unwrap_or_else(|why| Err(format!("QEMU does not run: {why}")))
            }
            Err(why) => Err(why.to_string()),
        };
        match outcome {
            Ok(version) => Ok((vmm, version, guest)),
            Err(why) => {
                vmm.signal(Signal::KILL)?;
                Err(not_started(&spec.name, &why))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Ends the VMM: by a request first, then by signals. A VMM that has already ended is fine.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        // A closed socket means that it is ending by itself.
        let _ = self.qmp.write_all(format!("{}\n", qmp::QUIT).as_bytes());
        for (limit, next) in ENDS.into_iter().zip([Some(Signal::TERM), Some(Signal::KILL), None]) {
            if self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
            if let Some(signal) = next {
                self.signal(signal)?;
            }
        }
        Err(fault::system("end", format_args!("QEMU, process {}", self.pid), "it survives SIGKILL"))
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(why) => Err(fault::system("end", format_args!("QEMU, process {}", self.pid), why)),
        }
    }
}

/// QEMU's messages on stderr when the host's kernel refuses what a guest needs, each with the
/// facility (QEMU 10.0 accel/kvm/kvm-all.c, kvm_init; hw/vfio/pci.c, VFIO_MSG_PREFIX).
const REFUSALS: [(&str, Facility); 2] =
    [("failed to initialize kvm: ", Facility::Kvm), ("vfio 0000:", Facility::VfioPci)];

/// Returns the failure of a QEMU that ended before it ran the guest. `why` has its last output.
fn not_started(guest: &str, why: &str) -> Failure {
    let failure = fault::system("start", format_args!("guest {guest}"), why);
    match REFUSALS.into_iter().find(|(words, _)| why.contains(words)) {
        Some((_, facility)) => fault::refused(facility, failure.message),
        None => failure,
    }
}

/// Starts QEMU in a process group of its own, with the open files `ends`.
fn spawn(program: &Path, arguments: Vec<String>, ends: [RawFd; 2]) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec it makes system calls only and allocates nothing; the caller
    // has both files open.
    unsafe {
        command.pre_exec(move || {
            for end in ends {
                fcntl_setfd(BorrowedFd::borrow_raw(end), FdFlags::empty())?;
            }
            Ok(())
        });
    }
    command.spawn()
}

/// Returns QEMU's command line. The guest's link and QMP are the open files `link` and `qmp`; its
/// console is QEMU's stdout.
fn arguments(spec: &StartGuest, nonce: u64, [link, qmp]: [RawFd; 2]) -> Result<Vec<String>, Failure> {
    let StartGuest { name, memory_mib, cpus, devices } = spec;
    if !is_name(name) {
        return Err(fault::invalid(format_args!(
            "{name:?} is not a valid name of a guest; a name has a-z, 0-9 and '-', does not begin with '-', and has at \
             most {LONGEST_NAME} characters"
        )));
    }
    let taken: Vec<u8> = devices.iter().map(|device| device.guest_slot).collect();
    if let Some(slot) = taken.iter().find(|slot| !SLOTS.contains(slot)) {
        return Err(fault::invalid(format_args!("PCI slot {slot} of guest {name}: there are 1 to 31")));
    }
    let own = SLOTS.rev().find(|slot| !taken.contains(slot));
    let own =
        own.ok_or_else(|| fault::invalid(format_args!("guest {name} has no PCI slot left for its link")))?;
    let mut words: Vec<String> = [
        "-M virt,gic-version=host -accel kvm -cpu host -nodefaults -no-user-config -display none -no-reboot",
        "-kernel /guest/Image -initrd /guest/initrd",
        &format!("-smp {cpus} -m {memory_mib}M"),
        "-chardev stdio,id=console,signal=off -serial chardev:console",
        &format!("-chardev socket,id=qmp,fd={qmp} -mon chardev=qmp,mode=control"),
        &format!("-chardev socket,id=link,fd={link} -device virtio-serial-pci,addr={own:#x}"),
        &format!("-device virtserialport,chardev=link,name={}", crate::port::NAME),
    ]
    .iter()
    .flat_map(|line| line.split(' ').map(str::to_owned))
    .collect();
    for device in devices {
        let address = Address::parse(&device.host_address)?;
        words
            .extend(["-device".to_owned(), format!("vfio-pci,host={address},addr={:#x}", device.guest_slot)]);
    }
    // A guest that panics restarts at once, which -no-reboot makes the end of QEMU. A byte on the
    // console takes exits to QEMU: all of the kernel's messages take longer than its boot. Errors
    // and a panic are printed nevertheless.
    let own = format!("s2lab.level=guest s2lab.name={name} s2lab.nonce={nonce:016x}");
    let line = format!("console=ttyAMA0 quiet panic=-1 {own}");
    words.extend(["-append".to_owned(), line]);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::FailureKind;
    use s2lab_protocol::ask::AssignedDevice;

    fn spec(slots: &[u8]) -> StartGuest {
        let device = |slot: &u8| AssignedDevice {
            device: format!("d{slot}"),
            host_address: format!("0000:{slot:02x}:00.0"),
            guest_slot: *slot,
        };
        StartGuest {
            name: "g0".into(),
            memory_mib: 256,
            cpus: 1,
            devices: slots.iter().map(device).collect(),
        }
    }

    #[test]
    fn the_command_line_names_files_devices_and_nonce() {
        let words = arguments(&spec(&[1, 31]), 0xab, [10, 12]).unwrap();
        let has = |wanted: &str| words.join(" ").contains(wanted);
        assert!(has("-chardev socket,id=link,fd=10") && has("-chardev socket,id=qmp,fd=12"), "{words:?}");
        assert!(has(
            "-device vfio-pci,host=0000:01:00.0,addr=0x1 -device vfio-pci,host=0000:1f:00.0,addr=0x1f"
        ));
        assert!(has("virtio-serial-pci,addr=0x1e"), "the link takes a slot that no device has: {words:?}");
        let append = words.last().unwrap();
        assert!(append.ends_with("s2lab.level=guest s2lab.name=g0 s2lab.nonce=00000000000000ab"), "{append}");
        assert_eq!(
            words.iter().filter(|word| word.contains(' ')).count(),
            1,
            "only -append has blanks: {words:?}"
        );
    }

    #[test]
    fn what_the_kernel_refuses_is_told_from_what_qemu_lacks() {
        let kind = |why| not_started("g0", why).kind;
        let kvm = "Exited { detail: \"-accel kvm: failed to initialize kvm: Device or resource busy\" }";
        assert_eq!(kind(kvm), FailureKind::Refused(Facility::Kvm));
        let vfio =
            "-device vfio-pci,host=0000:01:00.0: vfio 0000:01:00.0: failed to setup container for group 7";
        assert_eq!(kind(vfio), FailureKind::Refused(Facility::VfioPci));
        assert_eq!(kind("could not load kernel '/guest/Image'"), FailureKind::System);
    }

    #[test]
    fn the_longest_name_of_a_guest_is_that_of_the_protocol() {
        let named = |length| StartGuest { name: "x".repeat(length), ..spec(&[]) };
        assert!(arguments(&named(LONGEST_NAME), 0, [3, 4]).is_ok());
        let failure = arguments(&named(LONGEST_NAME + 1), 0, [3, 4]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("at most 41 characters"), "{}", failure.message);
    }

    #[test]
    fn nothing_smuggles_options_into_the_command_line() {
        let kind = |spec: StartGuest| arguments(&spec, 0, [3, 4]).unwrap_err().kind;
        assert_eq!(kind(StartGuest { name: "g0 -monitor".into(), ..spec(&[]) }), FailureKind::Invalid);
        assert_eq!(kind(spec(&[0])), FailureKind::Invalid);
        assert_eq!(kind(spec(&[32])), FailureKind::Invalid);
        assert_eq!(kind(spec(&(1..=31).collect::<Vec<_>>())), FailureKind::Invalid, "no slot for the link");
        let mut sly = spec(&[1]);
        sly.devices[0].host_address = "0000:01:00.0,x=y".into();
        assert_eq!(kind(sly), FailureKind::Invalid);
    }
}
