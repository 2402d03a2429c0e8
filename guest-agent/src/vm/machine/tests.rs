use super::*;
use crate::guest::serve_on;
use crate::guest::tests::{ADDRESS, BAR_SIZE, bar_file, fixture};
use crate::link::tests::Tape;
use crate::link::{Credentials, Incoming, Link};
use s2lab_protocol::ask::{
    Ask, AssignedDevice, BeginStores, EndStores, GuestRequest, Hold, Joined, Load, Loaded, Plug, Release,
    Store, Stored, pattern,
};
use s2lab_protocol::{
    AssignKind, Body, By, DeviceOperation, Frame, HypervisorType, Manner, MemslotOperation, Peer, ProbeKind,
    RamKind, VERSION, VmmKind, encode,
};
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const GUEST_ADDRESS: &str = "0000:00:10.0";
/// A program of tests is larger than the agent, and a VM has a copy of it.
const MEMORY_MIB: u32 = 128;
/// The same in bytes.
const MEMORY: u64 = (MEMORY_MIB as u64) << 20;

/// This CPU in place of vCPUs: it calls the functions in this process, whose addresses a VM shares.
/// A BAR has another address here.
struct ThisCpu {
    buffer: Mutex<Vec<u64>>,
    /// The end of all calls.
    end: Returned,
    slots: Mutex<Vec<(u32, Slot)>>,
    /// The memslots of which dirty pages may be logged.
    logged: Mutex<Vec<u32>>,
    log_is_complete: AtomicBool,
}

impl ThisCpu {
    fn new(end: Returned) -> ThisCpu {
        let logged = Mutex::new(vec![memslot::RAM]);
        ThisCpu {
            buffer: Mutex::new(vec![0; 1 << 17]),
            end,
            slots: Mutex::default(),
            logged,
            log_is_complete: AtomicBool::new(true),
        }
    }
}

impl Calls for ThisCpu {
    fn call(&self, _: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure> {
        if self.end == Returned::Done {
            // SAFETY: the argument is that of the function.
            unsafe { function(argument) };
        }
        Ok(self.end)
    }

    fn call_for_long(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure> {
        self.call(cpu, function, argument)
    }

    fn run_on(&self, after_faults: bool) -> u64 {
        u64::from(!after_faults) * 3
    }

    /// Like KVM: no dirty pages of a BAR are logged.
    fn set_slot(&self, number: u32, slot: Slot) -> Option<i32> {
        self.slots.lock().unwrap().push((number, slot));
        let logs = slot.flags == Flags::Log && slot.size > 0;
        (logs && !self.logged.lock().unwrap().contains(&number)).then_some(22)
    }

    /// Each page is dirty, as long as nothing breaks.
    fn log(&self, _: u32, size: u64) -> Result<Vec<u64>, Failure> {
        let word = if self.log_is_complete.load(SeqCst) { u64::MAX } else { !1 };
        Ok(vec![word; (size / rustix::param::page_size() as u64 / 64) as usize])
    }

    fn broken(&self, state: &str, detail: String) -> Failure {
        fault::invalid(format_args!("{state}: {detail}"))
    }

    fn buffer(&self, _: u32) -> Result<Buffer, Failure> {
        let mut words = self.buffer.lock().unwrap();
        let base = NonNull::new(words.as_mut_ptr()).unwrap().cast();
        // SAFETY: the words stay where they are; tests make one call at a time.
        Ok(unsafe { Buffer::new(base, 1 << 20) })
    }

    fn words(&self) -> Vec<&'static AtomicU32> {
        vec![Box::leak(Box::default())]
    }
}

fn spec() -> StartGuest {
    let device = AssignedDevice {
        device: "nic".into(),
        kind: AssignKind::SysfsWc,
        host_address: ADDRESS.into(),
        guest_slot: 0x10,
        hotplug: false,
        read_only: false,
        vma: None,
    };
    StartGuest {
        name: "g0".into(),
        vmm: VmmKind::Builtin,
        nonce: 7,
        memory_mib: MEMORY_MIB,
        cpus: 1,
        ram: vec![RamKind::Anonymous],
        ram_vma: None,
        upper_read_only: false,
        mte: false,
        hypervisor: None,
        devices: vec![device],
        joined: None,
    }
}

/// Returns a VM whose BAR is `resource2_wc` of the folder, mapped at the address of its backing.
fn vm(folder: &Path, end: Returned) -> Vm<ThisCpu> {
    let root = fixture(folder);
    std::os::unix::fs::symlink("/proc", folder.join("proc")).unwrap();
    let (plan, ram) = Plan::of(&root, &spec()).unwrap();
    let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
    vm.map("nic", GUEST_ADDRESS, MapKind::Wc).unwrap();
    vm.calls = Arc::new(ThisCpu::new(end));
    let base = NonNull::new(vm.devices[0].backing.address() as *mut u8).unwrap();
    vm.mapped[0].target.base = base;
    vm
}

/// Returns the answers of the VM.
fn answers(vm: Vm<ThisCpu>, asks: Vec<GuestRequest>) -> Vec<Result<Value, Failure>> {
    let nonce = 7;
    let frames = (0..).zip(asks).flat_map(|(id, ask)| {
        let body = Body::Request { id, request: ask.into() };
        encode(&Frame { version: VERSION, nonce, seq: id, from: Peer::Lab, to: Peer::Host, body }).unwrap()
    });
    let bytes: Vec<u8> = frames.collect();
    let tape = Tape::default();
    let link = Link::new(Peer::Guest("g0".into()), nonce, tape.clone());
    serve_on(vm, None, &link, Incoming::new(&bytes[..], Credentials { from: Peer::Lab, nonce })).unwrap();
    let answer = |frame: Frame| match frame.body {
        Body::Reply { result, .. } => result,
        other => panic!("{other:?}"),
    };
    tape.frames().into_iter().map(answer).collect()
}

fn store(bytes: u64) -> GuestRequest {
    let (device, address, manner) = ("nic".into(), GUEST_ADDRESS.into(), Manner::default());
    Store { device, address, map: MapKind::Wc, width: 64, by: By::St4, manner, bytes, seed: 5 }.request()
}

#[test]
fn a_vm_answers_like_a_guest() {
    let folder = tempfile::tempdir().unwrap();
    let load = Load {
        device: "nic".into(),
        address: GUEST_ADDRESS.into(),
        map: MapKind::Wc,
        width: 8,
        manner: Manner::default(),
        bytes: 128,
    };
    let asks = vec![store(BAR_SIZE), load.request()];
    let answers = answers(vm(folder.path(), Returned::Done), asks);
    let [stored, loaded] = &answers[..] else { panic!("{answers:?}") };
    let stored: Stored = serde_json::from_value(stored.clone().unwrap()).unwrap();
    assert_eq!((stored.result.first_difference, stored.result.bar.start), (None, layout::BARS));
    assert!(stored.result.nanos > 0 && stored.result.stores == BAR_SIZE / 64);
    let loaded: Loaded = serde_json::from_value(loaded.clone().unwrap()).unwrap();
    let digest = |place| Load::digest((place..place + 64).step_by(8).map(|at| (at, pattern(5, at))));
    assert_eq!(loaded.digests, [digest(0), digest(64)]);
    let file = bar_file(folder.path());
    for (place, word) in (0..).step_by(8).zip(file.chunks(8)) {
        assert_eq!(word, pattern(5, place).to_le_bytes(), "at {place:#x}");
    }
}

#[test]
fn an_exception_of_a_store_is_a_failure_and_one_of_a_probe_is_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Exception([0x9600_0021, 2, 3]));
    let probe = Probe { address: GUEST_ADDRESS.into(), map: MapKind::Wc, kind: ProbeKind::Store, offset: 64 };
    assert_eq!(vm.probe(probe).unwrap().outcome, ProbeEnd::Exception(0x9600_0021));
    let answers = answers(vm, vec![store(64)]);
    let failure = answers[0].clone().unwrap_err();
    assert!(failure.message.contains("ESR_EL1 0x96000021, ELR_EL1 0x2, FAR_EL1 0x3"), "{}", failure.message);
}

#[test]
fn a_vm_stores_in_the_background_and_counts_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let GuestRequest::Store(spec) = store(128) else { panic!("no store") };
    let begin = BeginStores { store: spec, may_fault: true }.request();
    let answers = answers(vm(folder.path(), Returned::Done), vec![begin, store(64), EndStores {}.request()]);
    assert_eq!(answers[1].clone().unwrap_err().message, "the guest stores");
    assert_eq!(answers[2].clone().unwrap()["faults"], 3);
    assert_eq!(bar_file(folder.path())[..8], pattern(5, 0).to_le_bytes());
}

#[test]
fn a_probe_makes_its_access() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Done);
    let probe = Probe { address: GUEST_ADDRESS.into(), map: MapKind::Wc, kind: ProbeKind::Store, offset: 64 };
    assert_eq!(vm.probe(probe).unwrap().outcome, ProbeEnd::Ok);
    assert!(bar_file(folder.path())[65..73].iter().all(|byte| *byte != 0));
}

#[test]
fn a_vm_that_is_held_makes_no_access_and_shows_its_mappings() {
    let folder = tempfile::tempdir().unwrap();
    let hold = || Hold { nonce: 9 }.request();
    let asks = vec![hold(), store(64), hold(), Release {}.request(), store(64), Release {}.request()];
    let answers = answers(vm(folder.path(), Returned::Done), asks);
    let why = |index: usize| answers[index].clone().unwrap_err().message;
    let held = answers[0].clone().unwrap();
    assert_eq!(held["mappings"][0]["bar"]["start"], layout::BARS);
    assert_eq!((why(1), why(2)), ("the guest is held".into(), "the guest is held".into()));
    assert!(answers[3].is_ok() && answers[4].is_ok());
    assert_eq!(why(5), "the guest is not held");
}

/// The first page of each 64 is missing. A block begins there.
#[test]
fn a_page_that_is_not_in_the_log_ends_the_vm() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Done);
    let look = |vm: &mut Vm<ThisCpu>| vm.hold(9).and_then(|_| vm.release());
    let log = |vm: &mut Vm<ThisCpu>, operation| {
        vm.memslot(&Memslot { address: None, operation, with: None }).map(|done| done.errno)
    };
    vm.calls.log_is_complete.store(false, SeqCst);
    assert_eq!(look(&mut vm), Ok(()), "no log is read");
    vm.calls.log_is_complete.store(true, SeqCst);
    assert_eq!(log(&mut vm, MemslotOperation::Log), Ok(None));
    assert_eq!(look(&mut vm), Ok(()));
    vm.calls.log_is_complete.store(false, SeqCst);
    // The places of this look are others.
    assert_eq!(look(&mut vm), Ok(()));
    assert_eq!(log(&mut vm, MemslotOperation::Unlog), Ok(None));
    assert_eq!(look(&mut vm), Ok(()));
    let mut vm = self::vm(tempfile::tempdir().unwrap().path(), Returned::Done);
    log(&mut vm, MemslotOperation::Log).unwrap();
    vm.calls.log_is_complete.store(false, SeqCst);
    let why = look(&mut vm).unwrap_err().message;
    assert!(why.starts_with("log-incomplete: ") && why.contains("the first at IPA 0x4"), "{why}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    std::os::unix::fs::symlink("/proc", folder.path().join("proc")).unwrap();
    let why = |spec: StartGuest| Plan::of(&root, &spec).unwrap_err().message;
    assert!(why(StartGuest { cpus: 3, ..spec() }).contains("1 to 2 vCPUs, not 3"));
    assert!(why(StartGuest { memory_mib: 1, ..spec() }).contains("of RAM; it needs"));
    let mut sly = spec();
    sly.devices[0].host_address = "../..".into();
    assert!(why(sly).contains("../.."));
    let (plan, ram) = Plan::of(&root, &spec()).unwrap();
    let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
    assert!(vm.map("nic", "0000:00:11.0", MapKind::Wc).unwrap_err().message.contains("0000:00:11.0"));
}

#[test]
fn a_memslot_is_changed_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Done);
    let mut operate = |address: Option<&str>, operation| {
        let address = address.map(str::to_owned);
        let ask = Memslot { address, operation, with: Some(GUEST_ADDRESS.into()) };
        vm.memslot(&ask).map(|done| done.errno)
    };
    let nic = Some(GUEST_ADDRESS);
    assert_eq!(operate(nic, MemslotOperation::Log), Ok(Some(22)));
    assert_eq!(operate(None, MemslotOperation::Log), Ok(None));
    let others = [MemslotOperation::Log, MemslotOperation::Fork, MemslotOperation::Compact];
    for operation in others.into_iter().filter(|operation| operation.is_of_ram()) {
        let message = operate(nic, operation).unwrap_err().message;
        assert_eq!(message, format!("{operation} is an operation of RAM"));
    }
    for operation in MemslotOperation::ALL.into_iter().filter(|operation| !others.contains(operation)) {
        assert_eq!(operate(nic, operation), Ok(None), "{operation}");
    }
    assert!(operate(Some("0000:00:11.0"), MemslotOperation::Add).is_err());
    let of_bars = [
        MemslotOperation::Remap,
        MemslotOperation::Replace,
        MemslotOperation::Divide,
        MemslotOperation::Protect,
        MemslotOperation::Renew,
    ];
    for operation in of_bars {
        assert!(operate(None, operation).unwrap_err().message.contains("RAM"), "{operation}");
    }
    let slots = std::mem::take(&mut *vm.calls.slots.lock().unwrap());
    let (bar, last, first) = (layout::BARS, layout::BARS_END - BAR_SIZE, BAR_SIZE / 4 * 3);
    let seen: Vec<_> =
        slots.iter().map(|(number, slot)| (*number, slot.ipa, slot.size, slot.flags)).collect();
    let expected = [
        (1, bar, BAR_SIZE, Flags::Log),
        (3, last, BAR_SIZE, Flags::Log),
        (0, layout::RAM, MEMORY, Flags::Log),
        (1, bar, 0, Flags::None),
        (1, bar, BAR_SIZE, Flags::None),
        (1, last, BAR_SIZE, Flags::None),
        (1, bar, BAR_SIZE, Flags::None),
        (1, bar, 0, Flags::None),
        (1, bar, BAR_SIZE, Flags::ReadOnly),
        (1, bar, BAR_SIZE, Flags::None),
        (1, bar, 0, Flags::None),
        (1, bar, BAR_SIZE, Flags::None),
        (1, bar, 0, Flags::None),
        (1, bar, first, Flags::None),
        (4, bar + first, BAR_SIZE - first, Flags::None),
    ];
    assert_eq!(seen, expected);
    let moved = vm.devices[0].backing.address();
    assert!(slots[0].1.address != moved && slots.last().unwrap().1.address == moved + first);
    let again = Memslot { address: nic_address(), operation: MemslotOperation::Remove, with: None };
    assert_eq!(vm.memslot(&again).unwrap_err().message, "the memslot is divided");
}

/// KVM may refuse one of the two.
#[test]
fn a_log_that_is_accepted_once_is_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Done);
    let ask = Memslot { address: nic_address(), operation: MemslotOperation::Log, with: None };
    for accepts in [1, 3] {
        *vm.calls.logged.lock().unwrap() = vec![accepts];
        assert_eq!(vm.memslot(&ask).map(|done| done.errno), Ok(None), "{accepts}");
    }
    let last = vm.calls.slots.lock().unwrap().last().map(|(number, slot)| (*number, slot.size));
    assert_eq!(last, Some((3, 0)), "it is removed again");
}

fn nic_address() -> Option<String> {
    Some(GUEST_ADDRESS.into())
}

#[test]
fn an_unplugged_device_is_given_up_when_vfio_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = vm(folder.path(), Returned::Done);
    let plug = |vm: &mut Vm<ThisCpu>, operation| vm.plug(&Plug { address: GUEST_ADDRESS.into(), operation });
    let used = || {
        let is_here = |text: &str| text.contains(folder.path().to_str().unwrap());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let open = targets.filter(|target| is_here(target.to_str().unwrap_or_default())).count();
        (maps.lines().filter(|line| is_here(line)).count(), open)
    };
    let why = plug(&mut vm, DeviceOperation::Unplug).unwrap_err().message;
    assert!(why.contains("does not ask"), "{why}");
    assert_eq!(used(), (1, 1));
    vm.devices[0].backing.ask();
    plug(&mut vm, DeviceOperation::Unplug).unwrap();
    assert_eq!(used(), (0, 0));
    assert!(vm.devices[0].backing.renew().unwrap_err().message.contains("given up"));
    plug(&mut vm, DeviceOperation::Plug).unwrap();
    assert_eq!(used(), (1, 1));
    assert!(plug(&mut vm, DeviceOperation::BusReset).is_err());
    let slots = std::mem::take(&mut *vm.calls.slots.lock().unwrap());
    let seen: Vec<_> = slots.iter().map(|(number, slot)| (*number, slot.ipa, slot.size)).collect();
    assert_eq!(seen, [(1, layout::BARS, 0), (1, layout::BARS, BAR_SIZE)]);
    assert_eq!(slots[1].1.address, vm.devices[0].backing.address());
}

#[test]
fn a_bar_right_behind_ram_has_one_memslot_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    std::os::unix::fs::symlink("/proc", folder.path().join("proc")).unwrap();
    let joined = |first: Option<&str>, second: &str| {
        Some(Joined { first: first.map(str::to_owned), second: second.to_owned() })
    };
    let ram = vec![RamKind::Memfd, RamKind::Thp];
    let of = |joined| Plan::of(&root, &StartGuest { ram: ram.clone(), joined, ..spec() });
    let (plan, ram) = of(joined(None, "nic")).unwrap();
    let both = MEMORY + BAR_SIZE;
    let address = ram.slots().0.address;
    let whole = Slot { ipa: layout::RAM, size: both, address, flags: Flags::None };
    assert_eq!(plan.slots(&ram), [(memslot::RAM, whole)]);
    let nic = plan.devices[0].slot();
    assert_eq!((nic.ipa, nic.address), (layout::RAM + MEMORY, address + MEMORY));
    let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
    let mut operate = |operation| vm.memslot(&Memslot { address: nic_address(), operation, with: None });
    assert_eq!(operate(MemslotOperation::Remove).unwrap_err().message, "the memslot is joined with another");
    let logged = MemslotDone { operation: MemslotOperation::Log, errno: None };
    assert_eq!(operate(MemslotOperation::Log), Ok(logged));
    vm.calls.logged.lock().unwrap().clear();
    vm.calls.slots.lock().unwrap().clear();
    let ask = Memslot { address: nic_address(), operation: MemslotOperation::Log, with: None };
    assert_eq!(vm.memslot(&ask), Ok(MemslotDone { errno: Some(22), ..logged }));
    let seen: Vec<_> =
        vm.calls.slots.lock().unwrap().iter().map(|(number, slot)| (*number, slot.size)).collect();
    assert_eq!(seen, [(memslot::RAM, both), (3, both)]);
    assert!(of(joined(None, "gpu")).unwrap_err().message.contains("gpu"));
    assert!(of(joined(Some("nic"), "nic")).unwrap_err().message.contains("with itself"));
}

#[test]
fn a_memslot_may_be_read_only_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    std::os::unix::fs::symlink("/proc", folder.path().join("proc")).unwrap();
    let mut guest = StartGuest { ram: vec![RamKind::Memfd, RamKind::Thp], upper_read_only: true, ..spec() };
    guest.devices[0].read_only = true;
    let (plan, ram) = Plan::of(&root, &guest).unwrap();
    let slots = plan.slots(&ram);
    let seen: Vec<_> =
        slots.iter().map(|(number, slot)| (*number, slot.ipa, slot.size, slot.flags)).collect();
    let half = MEMORY / 2;
    let expected = [
        (0, layout::RAM, half, Flags::None),
        (1, layout::BARS, BAR_SIZE, Flags::ReadOnly),
        (2, layout::RAM + half, half, Flags::ReadOnly),
    ];
    assert_eq!(seen, expected);
    // The vCPUs store to the lower half alone.
    assert!(plan.parts.tables.offset >= half);
    assert!(plan.parts.cpus.iter().all(|cpu| cpu.buffer.offset + cpu.buffer.size <= half));
    let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
    let operate = |vm: &mut Vm<ThisCpu>, address: Option<&str>, operation| {
        vm.memslot(&Memslot { address: address.map(str::to_owned), operation, with: None })
    };
    let why = operate(&mut vm, None, MemslotOperation::Log).unwrap_err().message;
    assert_eq!(why, "RAM has two memslots");
    // What is added again is as it was first.
    for operation in [MemslotOperation::Remove, MemslotOperation::Add] {
        operate(&mut vm, Some(GUEST_ADDRESS), operation).unwrap();
    }
    let last = vm.calls.slots.lock().unwrap().last().copied().unwrap();
    assert_eq!((last.1.size, last.1.flags), (BAR_SIZE, Flags::ReadOnly));
    guest.joined = Some(Joined { first: None, second: "nic".into() });
    assert!(Plan::of(&root, &guest).unwrap_err().message.contains("not read-only"));
    let one = StartGuest { upper_read_only: true, ..spec() };
    assert!(Plan::of(&root, &one).unwrap_err().message.contains("two kinds"));
}

#[test]
fn a_guest_with_tags_begins_without_the_memslots_of_its_devices() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    std::os::unix::fs::symlink("/proc", folder.path().join("proc")).unwrap();
    let (plan, ram) = Plan::of(&root, &StartGuest { mte: true, ..spec() }).unwrap();
    assert_eq!(plan.slots(&ram), [(memslot::RAM, ram.slots().0)]);
    let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
    let ask = Memslot { address: Some(GUEST_ADDRESS.into()), operation: MemslotOperation::Add, with: None };
    vm.memslot(&ask).unwrap();
    let slots = std::mem::take(&mut *vm.calls.slots.lock().unwrap());
    assert_eq!((slots[0].0, slots[0].1.ipa, slots[0].1.size), (1, layout::BARS, BAR_SIZE));
}

#[test]
fn a_hypervisor_has_a_stage_2_beside_the_stage_1_of_its_guest() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    std::os::unix::fs::symlink("/proc", folder.path().join("proc")).unwrap();
    let guest = StartGuest { hypervisor: Some(HypervisorType::NormalNC), ..spec() };
    let (plan, ram) = Plan::of(&root, &guest).unwrap();
    let stage2 = plan.hypervisor.as_ref().unwrap();
    let places = [layout::BARS, layout::BARS + BAR_SIZE, layout::RAM, layout::DOORBELL];
    let (nc, wb, device) = (HypervisorType::NormalNC, HypervisorType::NormalWB, HypervisorType::DeviceNGnRE);
    assert_eq!(places.map(|ipa| stage2.type_of(ipa)), [Some(nc), None, Some(wb), Some(device)]);
    let halves = plan.parts.tables.halves();
    assert_eq!(stage2.vttbr() & 0xffff_ffff_ffff, ram.ipa(halves[1]));
    assert_eq!(plan.stage1.root(), ram.ipa(halves[0]));
    // The copy of this test, which is code of the program.
    let place = a_hypervisor_has_a_stage_2_beside_the_stage_1_of_its_guest as *const () as u64;
    let ipa = plan.ipa(&ram, place).unwrap();
    let offset = ipa - layout::RAM;
    assert!(plan.parts.image.iter().any(|part| (part.offset..part.offset + part.size).contains(&offset)));
    assert_eq!((ipa % layout::PAGE, plan.ipa(&ram, 0)), (place % layout::PAGE, None));
    let types = |plan, ram| {
        let mut vm = Vm::new(plan, ram, ThisCpu::new(Returned::Done));
        vm.map("nic", GUEST_ADDRESS, MapKind::Wc).unwrap();
        vm.mappings().into_iter().map(|mapping| mapping.hypervisor).collect::<Vec<_>>()
    };
    let (plain, ram_of_plain) = Plan::of(&root, &spec()).unwrap();
    assert_eq!((types(plan, ram), types(plain, ram_of_plain)), (vec![Some(nc)], vec![None]));
}
