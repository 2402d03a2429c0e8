//! The real agent, compiled for this machine, in a folder that stands for the host's `/`: as the
//! host of whole cells, and alone.

use crate::{
    lab::{Checked, expect},
    row::{Deadline, HostFolder, LIFECYCLE, Row, good},
};
use fake_qemu::real;
use s2lab::{
    host::emulated::argv::port_address,
    host::ending::Ending,
    host::link::{AgentNotice, Link, LinkError},
    run::guests::{self, GuestError},
};
use s2lab_model::{event::Stage, record::virt, scenario::load};
use s2lab_protocol::{
    AssignKind, Body, Decoder, Facility, Failure, FailureKind, Frame, GuestEnd, Notice, Peer, RamKind,
    VERSION, Vma, VmmKind,
    ask::{
        Ask, AssignedDevice, Bind, Dump, EndCell, Finish, HostRequest, Resume, StartGuest, StopGuest,
        VmaFlags,
    },
    encode,
};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The same path as [`fake_qemu::vmm::NAME`].
const QEMU: &str = "usr/bin/qemu-system-aarch64";
/// A file in place of the device, which keeps the written lines.
const KERNEL_LOG: &str = "dev/kmsg";
/// The deadline of every request to the agent.
const SOON: Duration = Duration::from_secs(10);
const NONCE: u64 = 0x2a;
/// The nonce after `resume`.
const NEXT: u64 = 0x2b;

/// Returns the host's `/` below a row's folder.
pub(crate) fn folder(row: &Path) -> PathBuf {
    row.join("host")
}

/// Returns the device below the first root port.
fn function(root: &Path) -> PathBuf {
    root.join("sys/bus/pci/devices").join(port_address(0)).join("0000:01:00.0")
}

/// Makes a host's `/`: one device below its root port, already bound to vfio-pci, KVM, and a QEMU
/// that runs a silent guest.
pub(crate) fn make(row: &Path) -> io::Result<PathBuf> {
    let root = folder(row);
    let function = function(&root);
    let pci = root.join("sys/bus/pci");
    for folder in [&function, &pci.join("drivers/vfio-pci"), &pci.join("drivers/other")] {
        fs::create_dir_all(folder)?;
    }
    for folder in ["sys/module/vfio_iommu_type1", "proc", "dev", "usr/bin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    symlink(&function, pci.join("devices/0000:01:00.0"))?;
    let files = [
        ("vendor", "0x1af4\n"),
        ("device", "0x1110\n"),
        ("driver_override", "(null)\n"),
        ("config", "the configuration space"),
        // BAR 2 is at the fake QEMU's address.
        ("resource", "0x10000000 0x100000ff 0x40200\n0x0 0x0 0x0\n0x8000000000 0x80003fffff 0x14220c\n"),
    ];
    for (name, text) in files {
        fs::write(function.join(name), text)?;
    }
    fs::write(pci.join("drivers_probe"), "")?;
    fs::write(root.join("dev/kvm"), "")?;
    // The kernel is at the fake QEMU's address.
    let iomem = "40000000-67ffffff : System RAM\n  40200000-41a6ffff : Kernel code\n  42080000-4242ffff : Kernel data\n";
    fs::write(root.join("proc/iomem"), iomem)?;
    symlink("/sys/kernel/iommu_groups/7", function.join("iommu_group"))?;
    symlink(pci.join("drivers/vfio-pci"), function.join("driver"))?;
    symlink(std::env::current_exe()?, root.join(QEMU))?;
    Ok(root)
}

fn real_host(name: &'static str, what: &'static str, change: fn(&Path) -> io::Result<()>) -> Row {
    Row { host: Some(HostFolder { what, change }), ..good(name) }
}

/// Writes a program in QEMU's place.
fn qemu(root: &Path, script: &str) -> io::Result<()> {
    fs::remove_file(root.join(QEMU))?;
    fs::write(root.join(QEMU), script)?;
    fs::set_permissions(root.join(QEMU), fs::Permissions::from_mode(0o755))
}

pub(crate) fn rows() -> Vec<Row> {
    let bind =
        |name, what, change, verdict, says| real_host(name, what, change).stops(verdict, Stage::Bind, says);
    let start = |name, what, change, verdict, says| {
        real_host(name, what, change).stops(verdict, Stage::GuestBoot, says)
    };
    vec![
        bind(
            "real-no-device",
            "no function below the root port",
            |root| fs::remove_dir_all(function(root)),
            "ERROR",
            "there is no PCI function below root port",
        ),
        bind(
            "real-no-driver",
            "no driver vfio-pci",
            |root| fs::remove_dir(root.join("sys/bus/pci/drivers/vfio-pci")),
            "SKIP(there is no driver vfio-pci: the kernel lacks CONFIG_VFIO_PCI, or has it and does not bring it up; its \
             configuration is unknown)",
            "CONFIG_VFIO_PCI",
        ),
        bind(
            "real-no-iommu-group",
            "the device is in no IOMMU group",
            |root| fs::remove_file(function(root).join("iommu_group")),
            "FAIL",
            "0000:01:00.0 is in no IOMMU group, and the kernel has CONFIG_ARM_SMMU_V3=y",
        )
        .configured(),
        bind(
            "real-driver-refuses",
            "no driver takes the device",
            |root| fs::remove_file(function(root).join("driver")),
            "FAIL",
            "cannot bind 0000:01:00.0 to vfio-pci: it is bound to no driver",
        ),
        bind(
            "real-driver-does-not-let-go",
            "another driver keeps the device",
            |root| {
                let driver = function(root).join("driver");
                fs::remove_file(&driver)?;
                fs::write(root.join("sys/bus/pci/drivers/other/unbind"), "")?;
                symlink(root.join("sys/bus/pci/drivers/other"), driver)
            },
            "FAIL",
            "it is bound to other",
        ),
        bind(
            "real-resource-is-nonsense",
            "`resource` is not numbers",
            |root| fs::write(function(root).join("resource"), "\u{1b}[2J\u{202e}\n".repeat(9000)),
            "MISS",
            "is not three hexadecimal numbers",
        ),
        start(
            "real-no-kvm",
            "no /dev/kvm",
            |root| fs::remove_file(root.join("dev/kvm")),
            "FAIL",
            "there is no /dev/kvm, and the kernel has CONFIG_KVM=y",
        )
        .configured(),
        start(
            "real-no-vmm",
            "no QEMU in the host",
            |root| fs::remove_file(root.join(QEMU)),
            "MISS",
            "cannot start guest g0: No such file or directory",
        ),
        start(
            "real-vmm-exits",
            "QEMU in the host ends at once",
            |root| qemu(root, "#!/bin/sh\necho 'could not load kernel' >&2\nexit 1\n"),
            "MISS",
            "could not load kernel",
        ),
        start(
            "real-kvm-refuses",
            "KVM makes no virtual machine",
            |root| qemu(root, "#!/bin/sh\necho 'failed to initialize kvm: Permission denied' >&2\nexit 1\n"),
            "FAIL",
            "failed to initialize kvm: Permission denied",
        ),
        real_host("real-guest-silent", "QEMU in the host runs, its guest says nothing", |_| Ok(()))
            .stops("TIMEOUT(guest-boot)", Stage::GuestBoot, "guest g0 has not answered `hello`")
            .after(Deadline::GuestBoot),
        start(
            "real-agent-killed",
            "QEMU in the host kills the agent",
            |root| qemu(root, "#!/bin/sh\nkill -KILL $PPID\n"),
            "FAIL",
            "Attempted to kill init! exitcode=0x00000009",
        ),
        real_host("real-agent-stopped", "QEMU in the host stops the agent", |root| {
            qemu(root, "#!/bin/sh\nkill -STOP $PPID\n")
        })
        .stops("TIMEOUT(guest-boot)", Stage::GuestBoot, "the host's agent has been silent")
        .after(Deadline::Silence),
    ]
}

/// Starts the agent in a folder below the row's. Returns its `/`, and s2lab's end of its channel.
fn spawn(row: &Path) -> io::Result<(PathBuf, UnixStream, Child)> {
    let root = make(row)?;
    fs::write(root.join(KERNEL_LOG), "")?;
    fs::write(root.join("proc/cmdline"), format!("quiet s2lab.level=host s2lab.nonce={NONCE:x}\n"))?;
    let (ours, theirs) = UnixStream::pair()?;
    let process = real::start(&root, theirs)?;
    Ok((root, ours, process))
}

/// The real agent and s2lab's end of its link, with nothing between.
struct Alone {
    link: Link,
    hearing: mpsc::Receiver<AgentNotice>,
    process: Child,
    root: PathBuf,
}

impl Alone {
    async fn start(row: &Path) -> Result<Self, String> {
        let started = || -> io::Result<_> {
            let (root, ours, process) = spawn(row)?;
            ours.set_nonblocking(true)?;
            Ok((tokio::net::UnixStream::from_std(ours)?, process, root))
        };
        let (ours, process, root) = started().map_err(|e| e.to_string())?;
        let (heard, hearing) = mpsc::channel(1000);
        let mut link = Link::start(ours, NONCE, heard, Ending::unknown());
        link.begin_cell(NONCE, ["g0".to_owned()].into());
        link.hello(&Peer::Host, SOON).await.map_err(|e| e.to_string())?;
        Ok(Self { link, hearing, process, root })
    }

    async fn ask<A: Ask<Level = HostRequest>>(&mut self, ask: A) -> Result<A::Answer, Failure> {
        match self.link.ask_host(ask, SOON).await {
            Ok(answer) => Ok(answer),
            Err(LinkError::Failed { failure, .. }) => Err(failure),
            // A failure of the link, not an answer of the agent.
            Err(other) => Err(Failure { kind: FailureKind::Unsupported, message: other.to_string() }),
        }
    }

    /// Binds the device and starts a guest with it. Returns the VMM's process.
    async fn guest(&mut self) -> Result<u32, String> {
        let bind = Bind { device: "nic".into(), port: port_address(0), kind: AssignKind::VfioPci };
        let bound = self.ask(bind).await.map_err(|failure| format!("{failure:?}"))?;
        expect(
            "the BAR",
            bound.bars.last().map(|bar| (bar.start, bar.size)),
            Some((0x80_0000_0000, 4 << 20)),
        )?;
        let device = AssignedDevice {
            device: "nic".into(),
            kind: AssignKind::VfioPci,
            host_address: bound.address,
            guest_slot: 1,
            hotplug: false,
            read_only: false,
            vma: None,
        };
        let spec = StartGuest {
            name: "g0".into(),
            vmm: VmmKind::Qemu,
            nonce: NONCE,
            memory_mib: 64,
            cpus: 1,
            ram: vec![RamKind::Anonymous],
            ram_vma: None,
            upper_read_only: false,
            mte: false,
            hypervisor: None,
            devices: vec![device],
            joined: None,
        };
        match self.ask(spec).await {
            Ok(started) if started.vmm == "qemu 10.0.2 (fake)" => Ok(started.pid),
            other => Err(format!("{other:?}")),
        }
    }

    /// Ends the guest and the agent; the final record must count all answers, this one included.
    async fn finish(mut self) -> Checked {
        let stopped = self.ask(StopGuest { guest: "g0".into() }).await;
        expect("the guest's stop", stopped, Ok(()))?;
        if self.link.guest_ended("g0").is_none() {
            return Err("the guest's end was not reported before its stop".into());
        }
        let due = self.link.host_answered() + 1;
        let record = self.ask(Finish {}).await.map_err(|failure| format!("{failure:?}"))?;
        expect("answers", record.answered, due)?;
        let begin = Instant::now();
        loop {
            match self.process.try_wait().map_err(|e| e.to_string())? {
                Some(status) => return expect("the agent's exit code", status.code(), Some(0)),
                None if begin.elapsed() > SOON => return Err("the agent does not end".into()),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It has ended, unless its test has failed.
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// Runs the test with an agent alone, in a folder of its own.
fn alone<F: Future<Output = Checked>>(test: impl FnOnce(PathBuf) -> F) -> Checked {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(test(folder.path().to_owned()))
}

pub(crate) fn serves_to_the_end() -> Checked {
    alone(|folder| async move {
        let mut agent = Alone::start(&folder).await?;
        agent.guest().await?;
        let unknown = agent.ask(VmaFlags { guest: "g1".into() }).await;
        expect("an unknown guest", unknown.map_err(|failure| failure.kind), Err(FailureKind::Invalid))?;
        let mut beats = vec![];
        while beats.len() < 2 {
            match tokio::time::timeout(SOON, agent.hearing.recv()).await {
                Ok(Some(AgentNotice::Heartbeat { peer: Peer::Host, uptime_ms, .. })) => beats.push(uptime_ms),
                Ok(Some(_)) => {}
                _ => return Err("no heartbeat".into()),
            }
        }
        expect("heartbeats rise", beats.is_sorted(), true)?;
        let logged = fs::read_to_string(agent.root.join(KERNEL_LOG)).map_err(|e| e.to_string())?;
        expect("the kernel's log", logged, format!("<7>{}\n", s2lab_protocol::test_line(NONCE)))?;
        agent.finish().await
    })
}

/// Makes the flash of QEMU's machine `virt`, bound to vfio-platform, and VFIO's mode without an IOMMU.
fn make_flash(root: &Path) -> io::Result<()> {
    let (bus, parameters) = (root.join("sys/bus/platform"), root.join("sys/module/vfio/parameters"));
    let flash = bus.join("devices/0.flash");
    let driver = bus.join("drivers/vfio-platform");
    for folder in [&flash.join("of_node"), &driver, &parameters] {
        fs::create_dir_all(folder)?;
    }
    let regions = [0u64, 64 << 20, 64 << 20, 64 << 20].map(u64::to_be_bytes).concat();
    fs::write(flash.join("of_node/reg"), regions)?;
    fs::write(flash.join("driver_override"), "(null)\n")?;
    fs::write(driver.join("unbind"), "")?;
    fs::write(parameters.join("enable_unsafe_noiommu_mode"), "N\n")?;
    symlink(&driver, flash.join("driver"))?;
    symlink("/sys/kernel/iommu_groups/8", flash.join("iommu_group"))
}

/// A platform device is bound, and a host that has had one serves no other cell.
pub(crate) fn binds_a_platform_device() -> Checked {
    alone(|folder| async move {
        let mut agent = Alone::start(&folder).await?;
        let bind =
            |port: &str| Bind { device: "flash".into(), port: port.into(), kind: AssignKind::VfioPlatform };
        let lacks = agent.ask(bind("0.flash")).await.map_err(|failure| failure.kind);
        expect("a kernel without the driver", lacks, Err(FailureKind::Missing(Facility::VfioPlatform)))?;
        make_flash(&agent.root).map_err(|e| e.to_string())?;
        let no_name = agent.ask(bind("../0.flash")).await.map_err(|failure| failure.kind);
        expect("a name that leaves its folder", no_name, Err(FailureKind::Invalid))?;
        let bound = agent.ask(bind("0.flash")).await.map_err(|failure| format!("{failure:?}"))?;
        let what = (bound.address.as_str(), bound.driver.as_str(), bound.iommu_group, bound.bars.as_slice());
        expect("the device", what, ("0.flash", "vfio-platform", Some(8), &virt::flash()[..]))?;
        let record =
            agent.ask(EndCell { nonce: NONCE, follows: true }).await.map_err(|f| format!("{f:?}"))?;
        let why = record.unclean.unwrap_or_default();
        expect("the taint is named", why.contains("tainted the kernel for 0.flash"), true)?;
        let unbound = fs::read_to_string(agent.root.join("sys/bus/platform/drivers/vfio-platform/unbind"));
        expect("the device is taken from its driver", unbound.ok().as_deref(), Some("0.flash"))
    })
}

/// Sends a request to the host's agent, and returns its frames up to the answer.
fn exchange(
    channel: &mut UnixStream,
    decoder: &mut Decoder,
    (nonce, seq): (u64, u64),
    request: HostRequest,
) -> Result<Vec<Frame>, String> {
    let body = Body::Request { id: seq, request: request.into() };
    let frame = Frame { version: VERSION, nonce, seq, from: Peer::Lab, to: Peer::Host, body };
    channel.write_all(&encode(&frame).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    frames_until(channel, decoder, |body| matches!(body, Body::Reply { .. }))
}

/// Returns the frames of the host's agent up to such a one.
fn frames_until(
    channel: &mut UnixStream,
    decoder: &mut Decoder,
    is_last: impl Fn(&Body) -> bool,
) -> Result<Vec<Frame>, String> {
    let (mut frames, mut buffer) = (vec![], [0; 4096]);
    loop {
        while let Some(frame) = decoder.next_frame().map_err(|e| e.to_string())? {
            let is_last = is_last(&frame.body);
            frames.push(frame);
            if is_last {
                return Ok(frames);
            }
        }
        match channel.read(&mut buffer).map_err(|e| e.to_string())? {
            0 => return Err(format!("the channel was closed after {frames:?}")),
            n => decoder.push(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// The time in which a heartbeat comes after `resume`, before that of the agent's first second.
const BEATS: Duration = Duration::from_millis(700);

/// `resume` changes the nonce of an agent that runs, and its numbers begin anew. It sends a heartbeat at once.
pub(crate) fn begins_anew() -> Checked {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let started = || -> io::Result<_> {
        let (root, ours, process) = spawn(folder.path())?;
        ours.set_read_timeout(Some(SOON))?;
        Ok((root, ours, process))
    };
    let (root, mut channel, mut process) = started().map_err(|e| e.to_string())?;
    let mut decoder = Decoder::default();
    let before = exchange(&mut channel, &mut decoder, (NONCE, 0), Dump { guest: "g0".into() }.request())?;
    expect("the nonce before", before.iter().all(|frame| frame.nonce == NONCE), true)?;
    let resumed = Instant::now();
    let frames = exchange(&mut channel, &mut decoder, (NONCE, 1), Resume { nonce: NEXT }.request())?;
    let beats = |body: &Body| matches!(body, Body::Notice(Notice::Heartbeat { .. }));
    if !frames.iter().any(|frame| frame.nonce == NEXT && beats(&frame.body)) {
        frames_until(&mut channel, &mut decoder, beats)?;
    }
    expect("a heartbeat at once", resumed.elapsed() < BEATS, true)?;
    let anew: Vec<_> = frames.iter().filter(|frame| frame.nonce == NEXT).collect();
    let numbers: Vec<_> = anew.iter().map(|frame| frame.seq).collect();
    expect("the numbers", numbers, (0..anew.len() as u64).collect())?;
    let greets = anew.iter().any(|frame| matches!(frame.body, Body::Notice(Notice::Hello(_))));
    expect("a hello", greets, true)?;
    let answer = anew.last().map(|frame| frame.body.clone());
    expect("the answer", answer, Some(Body::Reply { id: 1, result: Ok(serde_json::Value::Null) }))?;
    let logged = fs::read_to_string(root.join(KERNEL_LOG)).map_err(|e| e.to_string())?;
    expect("the kernel's log", logged.ends_with(&format!("<7>{}\n", s2lab_protocol::test_line(NEXT))), true)?;
    let last = exchange(&mut channel, &mut decoder, (NEXT, 2), Finish {}.request())?;
    let record = last.last().map(|frame| format!("{:?}", frame.body)).unwrap_or_default();
    expect("the number of answers", record.contains("\"answered\": Number(2)"), true)?;
    let status = process.wait().map_err(|e| e.to_string())?;
    expect("the agent's exit code", status.code(), Some(0))
}

/// The guest's QEMU starts with the command line that `s2lab explain` prints.
pub(crate) fn starts_the_shown_command() -> Checked {
    alone(|folder| async move {
        let mut agent = Alone::start(&folder).await?;
        let noting = "#!/bin/bash\nprintf '%s\\n' \"$0\" \"$@\" > \"$0.words\"\nexit 1\n";
        qemu(&agent.root, noting).map_err(|e| e.to_string())?;
        let (file, text) = LIFECYCLE;
        let scenario = load(file, text).map_err(|e| e.to_string())?;
        let guest = scenario.guests.get("g0").ok_or("no guest")?;
        let address = |_: &str| Ok::<_, GuestError>("0000:01:00.0".to_owned());
        let request =
            guests::request("g0", guest, &scenario.host, NONCE, address).map_err(|e| e.to_string())?;
        expect("a QEMU that ends", agent.ask(request).await.is_err(), true)?;
        let words =
            fs::read_to_string(agent.root.join(format!("{QEMU}.words"))).map_err(|e| e.to_string())?;
        let started: Vec<_> = words.lines().collect();
        let file =
            |id: &str| started.iter().find_map(|word| word.strip_prefix(&format!("socket,id={id},fd=")));
        let [link, qmp] = ["link", "qmp"].map(|id| file(id).unwrap_or("no open file"));
        let shown = guests::command("g0", guest, &scenario.host)
            .map_err(|e| e.to_string())?
            .ok_or("no command line")?;
        let with_values = |word: &String| {
            let nonce = format!("{NONCE:016x}");
            let word = word.replace("<link>", link).replace("<qmp>", qmp).replace("<nonce>", &nonce);
            word.replace("<address of nic>", "0000:01:00.0")
        };
        let mut due: Vec<_> = shown.iter().map(with_values).collect();
        // The host's `/` is a folder here.
        due.iter_mut().take(1).for_each(|program| program.insert_str(0, &agent.root.display().to_string()));
        expect("the command line", started, due.iter().map(String::as_str).collect())
    })
}

/// A built-in VMM that does as `script` says, with the number of its control socket in `$control`.
/// Returns the answer to the request that starts it, and the end of the guest.
async fn builtin(
    agent: &mut Alone,
    script: &str,
) -> Result<(Result<String, Failure>, Option<GuestEnd>), String> {
    let number = r#"control=$(echo "$2" | sed 's/.*"control":\([0-9]*\).*/\1/')"#;
    let program = agent.root.join("init");
    let written = fs::write(&program, format!("#!/bin/bash\nPATH=/usr/bin:/bin\n{number}\n{script}\n"));
    written
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .map_err(|e| e.to_string())?;
    let (name, vmm) = ("g0".to_owned(), VmmKind::Builtin);
    let (ram, upper_read_only, mte) = (vec![RamKind::Anonymous], false, false);
    let (hypervisor, devices, joined) = (None, vec![], None);
    let spec = StartGuest {
        name,
        vmm,
        nonce: NONCE,
        memory_mib: 64,
        cpus: 1,
        ram,
        ram_vma: None,
        upper_read_only,
        mte,
        hypervisor,
        devices,
        joined,
    };
    let started = agent.ask(spec).await.map(|started| started.vmm);
    let begin = Instant::now();
    while started.is_ok() && agent.link.guest_ended("g0").is_none() && begin.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((started, agent.link.guest_ended("g0")))
}

/// Each end of the built-in VMM has its reason.
pub(crate) fn reports_the_end_of_a_builtin_vmm() -> Checked {
    alone(|folder| async move {
        let mut agent = Alone::start(&folder).await?;
        let running = r#"printf '"running"\n' >&$control"#;
        let refused = r#"printf '{"not-started":{"kind":{"refused":"kvm"},"message":"no VM"}}\n' >&$control"#;
        let (started, ended) = builtin(&mut agent, refused).await?;
        let failure = Failure { kind: FailureKind::Refused(Facility::Kvm), message: "no VM".into() };
        expect("a VM that is refused", started, Err(failure))?;
        expect("its end, which nobody waits for", ended, None)?;
        let (started, _) = builtin(&mut agent, "echo no memory >&2; exit 3").await?;
        let says = |failure: &Failure| failure.message.contains("no memory");
        expect("a VMM that dies at its start", started.is_err_and(|failure| says(&failure)), true)?;
        let stopped =
            r#"printf '{"stopped":{"state":"kvm-run-failed","detail":"Bad address"}}\n' >&$control"#;
        let (started, ended) = builtin(&mut agent, &format!("{running}\n{stopped}\nsleep 60")).await?;
        expect("the version", started.is_ok_and(|version| version.starts_with("builtin ")), true)?;
        let how = GuestEnd::Stopped { state: "kvm-run-failed".into(), detail: "Bad address".into() };
        expect("the end", ended, Some(how))?;
        agent.finish().await
    })
}

const NAME: &str = "anon_inode:[vfio-device]";

fn vma(start: u64, name: &str, rest: &str) -> String {
    format!("{start:x}-{:x} rw-s 20000000000 00:0e 1057       {name}\nSize: 4 kB\n{rest}", start + 4096)
}

/// The result of reading a `smaps`: its VMAs, or a part of the error.
type Understood = Result<Vec<Vma>, &'static str>;

fn hostile_smaps() -> Vec<(Vec<u8>, Understood)> {
    let found = |name: &str, flags: &[&str]| Vma {
        start: 0x1000,
        end: 0x2000,
        offset: 2 << 40,
        name: name.into(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    let flagged = vma(0x1000, NAME, "VmFlags: rd ?? \n");
    let steers = format!("\u{1b}[2J\u{202e}{NAME}");
    let countless: String = (0..300).map(|n| vma(n << 12, NAME, "VmFlags: rd\n")).collect();
    vec![
        (vec![], Ok(vec![])),
        (flagged.clone().into(), Ok(vec![found(NAME, &["rd", "??"])])),
        (vma(0x1000, &steers, "VmFlags: rd\n").into(), Ok(vec![found(&steers, &["rd"])])),
        ([b"\xff\xfe\n\0\n".as_slice(), flagged.as_bytes()].concat(), Ok(vec![found(NAME, &["rd", "??"])])),
        (format!("{}\n{flagged}", "x".repeat(1 << 20)).into(), Ok(vec![found(NAME, &["rd", "??"])])),
        (vma(0x1000, NAME, "").into(), Err("has no VmFlags line")),
        (countless.into(), Err("more than 256 VMAs map devices")),
    ]
}

pub(crate) fn reads_hostile_smaps() -> Checked {
    alone(|folder| async move {
        let mut agent = Alone::start(&folder).await?;
        let pid = agent.guest().await?;
        let proc = agent.root.join(format!("proc/{pid}"));
        let ask = || VmaFlags { guest: "g0".into() };
        let absent = agent.ask(ask()).await;
        expect("without smaps", absent.map_err(|failure| failure.kind), Err(FailureKind::System))?;
        fs::create_dir(&proc).map_err(|e| e.to_string())?;
        for (text, due) in hostile_smaps() {
            fs::write(proc.join("smaps"), text).map_err(|e| e.to_string())?;
            match (agent.ask(ask()).await, due) {
                (Ok(vmas), Ok(due)) => expect("VMAs", vmas, due)?,
                (Err(failure), Err(why)) if failure.message.contains(why) => {}
                (found, due) => return Err(format!("{found:?} instead of {due:?}")),
            }
        }
        agent.finish().await
    })
}
