//! Each kind of line: what it prints is read back, and nothing else is.

use super::*;
use crate::ktap::TestResult;
use crate::scenario::{Promise, Size};
use crate::statistics::Summary;
use crate::steps::{
    Actor, CountLine, DeviceLine, DmaLine, Ending, ExecLine, FramesLine, HostLookLine, LoadLine, LookLine,
    MeasureLine, MemslotLine, MethodLine, Outcome, ProbeLine, ProgramEnding, ResetLine, StepLine, StoreLine,
    TestLine, WhileLine,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use s2lab_mmu::{Exec, MemoryType, Shareability};
use s2lab_protocol::{
    Barrier, By, DeviceOperation, HypervisorType, Manner, MapKind, MemslotOperation, Order, ProbeKind,
};
use std::fmt::Debug;
use std::str::FromStr;

fn word() -> impl Strategy<Value = Word> {
    prop_oneof!["[a-z0-9-]{1,8}", ".*"].prop_map(|text| Word::new(&text))
}

/// Returns names, as operations and regions have them: a comma ends one in a list.
fn name() -> impl Strategy<Value = Word> {
    "[a-z0-9-]{1,8}".prop_map(|text| Word::new(&text))
}

pub(crate) fn text() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-z ,:]{1,12}", ".*"].prop_map(|text| Text::new(&text))
}

fn map() -> impl Strategy<Value = MapKind> {
    select(MapKind::ALL.to_vec())
}

fn device() -> impl Strategy<Value = Area> {
    word().prop_map(|name| Area::device(&name))
}

prop_compose! {
    fn attributes()(
        stage2 in text(),
        read: bool,
        write: bool,
        exec in select(Exec::ALL.to_vec()),
        sh in option::of(select(Shareability::ALL.to_vec())),
        af: bool,
    ) -> Attributes {
        Attributes { stage2, read, write, exec, sh, af }
    }
}

prop_compose! {
    fn manner()(
        order in select(Order::ALL.to_vec()),
        seed: u32,
        barrier in select(Barrier::ALL.to_vec()),
        from: u64,
        chunk: u64,
        vcpus: u32,
        usual: bool,
    ) -> Manner {
        if usual { Manner::default() } else { Manner { order, seed, barrier, from, chunk, vcpus } }
    }
}

prop_compose! {
    fn store()(
        guest in word(),
        device in word(),
        map in map(),
        width: u32,
        by in option::of(select(By::ALL.to_vec())),
        manner in manner(),
        stores: u64,
        equal: [bool; 2],
    ) -> StoreLine {
        let [file_equal, reads_back] = equal;
        StoreLine { guest, device, map, width, by, manner, stores, file_equal, reads_back }
    }
}

prop_compose! {
    fn measure()(name in word(), store in store()) -> MeasureLine { MeasureLine { name, store } }
}

prop_compose! {
    fn load()(
        guest in word(),
        device in word(),
        map in map(),
        width: u32,
        manner in manner(),
        loads: u64,
        equal: bool,
    ) -> LoadLine {
        LoadLine { guest, device, map, width, manner, loads, equal }
    }
}

prop_compose! {
    fn probe()(
        kind in select(ProbeKind::ALL.to_vec()),
        guest in word(),
        device in word(),
        map in map(),
        ending in select(Ending::ALL.to_vec()),
    ) -> ProbeLine {
        ProbeLine { kind, guest, device, map, ending }
    }
}

prop_compose! {
    fn look()(name in word(), guest in word()) -> LookLine { LookLine { name, guest } }
}

prop_compose! {
    fn exec()(
        place in word(),
        command in text(),
        ending in prop_oneof![
            any::<i32>().prop_map(ProgramEnding::Exit),
            any::<i32>().prop_map(ProgramEnding::Signal),
            select(ProgramEnding::WORDS.to_vec()),
        ],
    ) -> ExecLine {
        ExecLine { place, command, ending }
    }
}

prop_compose! {
    fn test()(
        place in word(),
        command in text(),
        name in text(),
        result in select(TestResult::ALL.to_vec()),
    ) -> TestLine {
        TestLine { place, command, name, result }
    }
}

fn region() -> impl Strategy<Value = Region> {
    let sh = || option::of(select(Shareability::ALL.to_vec()));
    prop_oneof![
        prop_oneof![device(), Just(Area::Ram)].prop_map(Region::NothingMapped),
        (prop_oneof![device(), Just(Area::Unknown)], attributes())
            .prop_map(|(area, attributes)| Region::Mapped { area, attributes }),
        (text(), sh()).prop_map(|(stage2, sh)| Region::Ram { stage2, sh }),
    ]
}

prop_compose! {
    fn mapping()(
        device in word(),
        map in map(),
        effective in vec(option::of(select(MemoryType::ALL.to_vec())), 0..4),
    ) -> Mapping {
        Mapping::new(&device, map, effective.into_iter())
    }
}

fn question() -> impl Strategy<Value = Question> {
    let hypervisor = select(HypervisorType::ALL.to_vec());
    (device(), hypervisor).prop_map(|(device, hypervisor)| Question { device, hypervisor })
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        Just(Isolation::Foreign),
        (any::<u64>(), any::<u64>(), vec(word(), 0..3))
            .prop_map(|(memory, start, devices)| { Isolation::Own { memory: Size(memory), start, devices } }),
    ]
}

pub(crate) fn promised() -> impl Strategy<Value = Promised> {
    prop_oneof![
        store().prop_map(|line| Promised::Step(StepLine::Store(line))),
        measure().prop_map(|line| Promised::Step(StepLine::Measure(line))),
        load().prop_map(|line| Promised::Step(StepLine::Load(line))),
        dma().prop_map(|line| Promised::Step(StepLine::Dma(line))),
        frames().prop_map(|line| Promised::Step(StepLine::Frames(line))),
        word().prop_map(|device| Promised::Step(StepLine::Reset(ResetLine { device }))),
        operation().prop_map(|line| Promised::Step(StepLine::Device(line))),
        memslot().prop_map(|line| Promised::Step(StepLine::Memslot(line))),
        meanwhile().prop_map(|line| Promised::Step(StepLine::While(line))),
        probe().prop_map(|line| Promised::Step(StepLine::Probe(line))),
        look().prop_map(|line| Promised::Step(StepLine::Look(line))),
        (word(), text())
            .prop_map(|(name, seen)| Promised::Step(StepLine::HostLook(HostLookLine { name, seen }))),
        exec().prop_map(|line| Promised::Step(StepLine::Exec(line))),
        test().prop_map(|line| Promised::Step(StepLine::Test(line))),
        Just(Promised::Unreadable),
        region().prop_map(Promised::Region),
        mapping().prop_map(Promised::Mapping),
        question().prop_map(Promised::Question),
        isolation().prop_map(Promised::Isolation),
    ]
}

pub(crate) fn witness() -> impl Strategy<Value = Witness> {
    let testimony = prop_oneof![
        Just(Testimony::Agrees),
        Just(Testimony::Contradicts),
        text().prop_map(Testimony::Silent),
    ];
    (word(), testimony).prop_map(|(name, testimony)| Witness { name, testimony })
}

prop_compose! {
    fn geometry()(look in word(), guest in word(), granule: u64, ipa_bits: u32, start_level: i8) -> Geometry {
        Geometry { look, guest, granule: Size(granule), ipa_bits, start_level }
    }
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        geometry().prop_map(Shape::Geometry),
        (word(), text()).prop_map(|(device, method)| Shape::Method(MethodLine { device, method })),
        (any::<usize>(), word(), text()).prop_map(|(step, device, values)| Shape::Count(CountLine {
            step,
            device,
            values
        })),
    ]
}

prop_compose! {
    fn leaves()(
        count: u64,
        size: u64,
        level: i8,
        bits: u64,
        attributes in attributes(),
        contiguous: bool,
        dbm: bool,
        software: u8,
    ) -> Leaves {
        Leaves { count, size: Size(size), level, bits, attributes, contiguous, dbm, software }
    }
}

prop_compose! {
    fn range()(
        area in prop_oneof![device(), Just(Area::Unknown)],
        place in option::of((option::of(any::<u8>()), any::<(u64, u64)>())),
        ipa: (u64, u64),
        leaves in leaves(),
    ) -> Range {
        Range { area, place: place.map(|(bar, bytes)| Place { bar, bytes }), ipa, leaves }
    }
}

pub(crate) fn table() -> impl Strategy<Value = Table> {
    prop_oneof![
        look().prop_map(Table::Look),
        range().prop_map(Table::Range),
        any::<usize>().prop_map(Table::MoreRanges),
        leaves().prop_map(Table::Ram),
        any::<usize>().prop_map(Table::MoreRam),
    ]
}

prop_compose! {
    fn throughput()(
        step: usize,
        guest in word(),
        device in word(),
        map in map(),
        width: u32,
        n: usize,
        numbers: [u64; 3],
    ) -> Number {
        let [median, min, max] = numbers;
        Number::Store { step, guest, device, map, width, samples: Summary { n, median, min, max } }
    }
}

prop_compose! {
    fn samples()(
        step: usize,
        name in word(),
        boot: usize,
        n: usize,
        numbers: [u64; 3],
        interval in option::of(any::<(u64, u64)>()),
    ) -> Number {
        let [median, min, max] = numbers;
        Number::Measure { step, name, boot, samples: Summary { n, median, min, max }, interval }
    }
}

prop_compose! {
    fn host_look()(step: usize, name in word(), sizes: [usize; 4]) -> Number {
        let [ram, mmio, hypervisor, stacks] = sizes;
        Number::HostLook { step, name, ram, mmio, hypervisor, stacks }
    }
}

pub(crate) fn number() -> impl Strategy<Value = Number> {
    let head = any::<bool>().prop_map(|emulated| Number::Head { emulated });
    prop_oneof![head, throughput(), samples(), host_look()]
}

pub(crate) fn promise() -> impl Strategy<Value = Promise> {
    select(Promise::all().map(|(promise, _)| promise).collect::<Vec<_>>())
}

pub(crate) fn finding() -> impl Strategy<Value = FindingLine> {
    prop_oneof![
        (text(), option::of(promise()), any::<bool>()).prop_map(|(what, promise, lab)| FindingLine::What {
            what,
            promise,
            lab
        }),
        text().prop_map(FindingLine::Expected),
        text().prop_map(FindingLine::Found),
        text().prop_map(FindingLine::Evidence),
    ]
}

prop_compose! {
    fn dma()(guest in word(), device in word(), bytes: u64, equal: [bool; 3]) -> DmaLine {
        let [drive_equal, back_equal, read_equal] = equal;
        DmaLine { guest, device, bytes: Size(bytes), drive_equal, back_equal, read_equal }
    }
}

prop_compose! {
    fn frames()(guest in word(), device in word(), bytes: u64, equal: [bool; 2]) -> FramesLine {
        let [host_equal, guest_equal] = equal;
        FramesLine { guest, device, bytes: Size(bytes), host_equal, guest_equal }
    }
}

fn operation() -> impl Strategy<Value = DeviceLine> {
    (select(Actor::ALL.to_vec()), select(DeviceOperation::ALL.to_vec()), word())
        .prop_map(|(by, operation, device)| DeviceLine { by, operation, device })
}

prop_compose! {
    fn meanwhile()(
        guest in word(),
        device in word(),
        rounds: u32,
        seed: u32,
        operations in vec((name(), name()), 0..4),
    ) -> WhileLine {
        WhileLine { guest, device, rounds, seed, operations }
    }
}

fn memslot() -> impl Strategy<Value = MemslotLine> {
    let outcome = option::of(1..4096i32).prop_map(Outcome);
    let operation = select(MemslotOperation::ALL.to_vec());
    (word(), word(), operation, option::of(word()), outcome)
        .prop_map(|(guest, of, operation, with, outcome)| MemslotLine { guest, of, operation, with, outcome })
}

fn fact() -> impl Strategy<Value = Fact> {
    (select(vec![FactKind::Blocking, FactKind::Variable]), "[a-z ]{1,9}[a-z]", text())
        .prop_map(|(kind, name, value)| Fact { kind, name: Text::new(&name), value })
}

pub(crate) fn further() -> impl Strategy<Value = Further> {
    ("[0-9a-f]{64}", any::<usize>()).prop_map(|(sha256, count)| Further { count, sha256 })
}

/// The line is read back as it is, and its text has no line feed and nothing invisible.
fn inverse<L: Display + FromStr<Err = LineError> + PartialEq + Debug>(line: &L) -> Result<(), TestCaseError> {
    let text = line.to_string();
    prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    let read = text.parse::<L>();
    prop_assert_eq!(read.as_ref(), Ok(line), "{}", text);
    Ok(())
}

proptest! {
    #[test]
    fn words_and_texts(word in word(), text in text()) {
        inverse(&word)?;
        inverse(&text)?;
    }

    #[test]
    fn stores(line in store()) { inverse(&line)?; }

    #[test]
    fn measures(line in measure()) { inverse(&line)?; }

    #[test]
    fn probes(line in probe()) { inverse(&line)?; }

    #[test]
    fn resets(device in word(), method in text()) {
        inverse(&ResetLine { device: device.clone() })?;
        inverse(&MethodLine { device, method })?;
    }

    #[test]
    fn operations(line in operation()) { inverse(&line)?; }

    #[test]
    fn memslots(line in memslot()) { inverse(&line)?; }
    #[test]
    fn whiles(line in meanwhile()) { inverse(&line)?; }

    #[test]
    fn looks(line in look()) { inverse(&line)?; }

    #[test]
    fn regions(line in region()) { inverse(&line)?; }

    #[test]
    fn mappings(line in mapping()) { inverse(&line)?; }

    #[test]
    fn isolations(line in isolation()) { inverse(&line)?; }

    #[test]
    fn every_promised_line(line in promised()) { inverse(&line)?; }

    #[test]
    fn witnesses(line in witness()) { inverse(&line)?; }

    #[test]
    fn geometries(line in geometry()) { inverse(&line)?; }

    #[test]
    fn every_line_of_the_shape(line in shape()) { inverse(&line)?; }

    #[test]
    fn ranges(line in range()) { inverse(&line)?; }

    #[test]
    fn leaves_of_ram(line in leaves()) { inverse(&line)?; }

    #[test]
    fn every_line_of_the_tables(line in table()) { inverse(&line)?; }

    #[test]
    fn numbers(line in number()) { inverse(&line)?; }

    #[test]
    fn findings(line in finding()) { inverse(&line)?; }

    #[test]
    fn facts(line in fact()) { inverse(&line)?; }

    #[test]
    fn what_is_left_out(line in further()) { inverse(&line)?; }

    #[test]
    fn no_text_panics(text in "(store |look |reset |  )?[a-z0-9 ,:.+x]{0,60}") {
        fn read<L: FromStr<Err = LineError> + Display>(text: &str) -> Result<(), TestCaseError> {
            if let Ok(line) = text.parse::<L>() {
                prop_assert_eq!(line.to_string(), text);
            }
            Ok(())
        }
        read::<Promised>(&text)?;
        read::<Witness>(&text)?;
        read::<Shape>(&text)?;
        read::<Table>(&text)?;
        read::<Number>(&text)?;
        read::<FindingLine>(&text)?;
        read::<Fact>(&text)?;
        read::<Further>(&text)?;
    }
}

fn reads<L: FromStr<Err = LineError>>(text: &str) -> bool {
    text.parse::<L>().is_ok()
}

/// A line as a person reads it, and the same line with one thing wrong.
#[test]
fn a_line_that_is_nearly_right_is_refused() {
    let check = |reads: fn(&str) -> bool, right: &str, wrong: &[(&str, &str)]| {
        assert!(reads(right), "{right}");
        for (from, to) in wrong {
            assert!(right.contains(from), "{from} in {right}");
            let text = right.replacen(from, to, 1);
            assert!(!reads(&text), "{text}");
        }
    };
    check(
        reads::<Promised>,
        "store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back DIFFERS",
        &[("8 B", "08 B"), ("131072", "+131072"), ("wc", "wt"), ("equal", "differs"), ("read-back", "back")],
    );
    check(
        reads::<Promised>,
        "  nic  stage2 Normal-NC  rw  never-exec  SH inner  AF",
        &[("rw", "wr"), ("inner", "outside"), ("  AF", ""), ("never-exec", "exec-el2"), ("stage2", "stage1")],
    );
    check(reads::<Promised>, "  ram  stage2 Normal-WB  no SH", &[("no SH", "SH none"), ("  ram", "ram")]);
    check(
        reads::<Promised>,
        "  nic  mapped wc  effective Device-nGnRE and Normal-NC  touched pages DIFFER",
        &[("DIFFER", "differ"), (" and Normal-NC", ""), ("Normal-NC", "Normal-XX")],
    );
    check(
        reads::<Promised>,
        "  maps only its own: 256M of RAM at 0x40000000, nic",
        &[("0x4", "0x04"), ("256M", "256m"), (", nic", ",nic")],
    );
    check(reads::<Promised>, "unaligned store g0 nic wc: fault", &[("fault", "oops"), (":", "")]);
    check(
        reads::<Witness>,
        "smaps  silent: no look",
        &[("silent:", "silent"), ("  ", " "), (" no look", "")],
    );
    check(
        reads::<Table>,
        "  nic BAR 0 +0x0..0x1000  1 x 4K level 3  at IPA 0x10000000..0x10001000  bits 0x400000000007d4  \
         stage2 Normal-NC  rw  never-exec  SH inner  AF  contiguous  DBM  software 0x1",
        &[
            ("contiguous  DBM", "DBM  contiguous"),
            ("0x1000 ", "1000 "),
            ("bits 0x4", "bits 0x04"),
            ("software 0x1", "software 0x0"),
            ("level 3", "level three"),
            ("  DBM", "  dbm"),
        ],
    );
    check(reads::<Table>, "  ram varies  and 3 more kinds", &[("3", "03"), ("kinds", "ranges")]);
    check(
        reads::<Number>,
        "step 0  store g0 nic wc 8 B  n 2  median 553 MB/s  min 342  max 765",
        &[("min 342", "342"), ("553", "553.5"), ("  n 2", "")],
    );
    check(
        reads::<Number>,
        "step 0  measure x  boot 1  n 6  median 3 ns  95 % 1..6  min 1  max 6",
        &[("boot 1", "1"), ("3 ns", "3 us"), ("95 %", "90 %"), ("1..6", "1 to 6"), ("measure", "store")],
    );
    check(
        reads::<FindingLine>,
        "isolation at look up, guest g0  I17",
        &[("I17", "I18"), ("  I17", "   I17")],
    );
    check(
        reads::<FindingLine>,
        "look up, guest g0  lab",
        &[("lab", "Lab"), ("  lab", "  lab  lab"), ("  lab", "  lab  I17")],
    );
    check(reads::<Further>, &Further::of(&["x".into()]).to_string(), &[(" 1 ", " 01 "), ("sha256 ", "")]);
}

#[test]
fn a_name_with_spaces_is_one_word() {
    assert_eq!(&*Word::new("a b"), "a\\u{20}b");
    assert_eq!(&*Word::new(""), "\"\"");
    assert_eq!(Area::device("ram").to_string(), "ram?");
    assert_eq!(Area::device("unknown region").to_string(), "unknown\\u{20}region");
}
