use super::*;
use s2lab_protocol::ethernet::FRAME_DATA;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

/// The kind of a message that the driver of the physical function sends by itself (E1000_PF_CONTROL_MSG).
const OF_LINK: u32 = 0x100;
/// The address of the memory for the function.
const ADDRESS: u64 = 0x4000_0000;

/// A function with its physical function's driver, as far as QEMU has them: it does its work when a register is
/// written.
struct Model {
    registers: RefCell<BTreeMap<usize, u32>>,
    memory: Memory,
    /// The messages that it gets, by their first words.
    messages: RefCell<Vec<Vec<u32>>>,
    /// Its answers, after which it has none.
    answers: RefCell<VecDeque<u32>>,
    sent: RefCell<Vec<Vec<u8>>>,
    /// It reports no frame as sent.
    keeps: Cell<bool>,
    _bytes: Vec<u64>,
}

impl Model {
    fn new(answers: &[u32]) -> Model {
        let mut bytes = vec![0u64; MEMORY as usize / 8];
        let base = NonNull::new(bytes.as_mut_ptr()).unwrap().cast();
        // SAFETY: the words live as long as the model.
        let memory = unsafe { Memory::at(base, ADDRESS) };
        Model {
            registers: RefCell::default(),
            memory,
            messages: RefCell::default(),
            answers: RefCell::new(answers.iter().copied().collect()),
            sent: RefCell::default(),
            keeps: Cell::new(false),
            _bytes: bytes,
        }
    }

    /// Returns a function whose driver answers as Linux's does.
    fn good() -> Model {
        Model::new(&[OF_RESET | REFUSED, OF_ADDRESS | 1 << 31])
    }

    fn driver(&self) -> Driver<&Model> {
        // Some looks are enough: nothing happens by itself.
        Driver { registers: self, memory: self.memory, wait: |done| (0..3).any(|_| done()) }
    }

    fn get(&self, at: usize) -> u32 {
        self.registers.borrow().get(&at).copied().unwrap_or_default()
    }

    fn set(&self, at: usize, value: u32) {
        self.registers.borrow_mut().insert(at, value);
    }

    fn base(&self, queue: usize) -> u64 {
        u64::from(self.get(queue + BASE_HIGH)) << 32 | u64::from(self.get(queue + BASE_LOW))
    }

    /// Returns the bytes at an address of the function.
    #[allow(clippy::mut_from_ref, reason = "a test uses one piece at a time")]
    fn bytes(&self, address: u64, length: usize) -> &mut [u8] {
        let offset = address - ADDRESS;
        assert!(offset + length as u64 <= MEMORY);
        // SAFETY: within the memory; a test uses one piece at a time.
        unsafe { std::slice::from_raw_parts_mut(self.memory.place(offset).as_ptr(), length) }
    }

    #[allow(clippy::mut_from_ref, reason = "as above")]
    fn descriptor(&self, queue: usize, slot: u32) -> &mut [u8] {
        assert!(self.get(queue + LENGTH) == RING * 16 && slot < RING);
        self.bytes(self.base(queue) + u64::from(slot) * 16, 16)
    }

    fn send(&self) {
        while self.get(SENDS + HEAD) != self.get(SENDS + TAIL) {
            assert_eq!(self.get(SENDS + CONTROL), ENABLED);
            let head = self.get(SENDS + HEAD);
            let descriptor = self.descriptor(SENDS, head);
            let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
            let command = u32::from_le_bytes(descriptor[8..12].try_into().unwrap());
            assert_eq!(command & !0xffff, DATA);
            self.sent.borrow_mut().push(self.bytes(address, command as usize & 0xffff).to_vec());
            if !self.keeps.get() {
                descriptor[12] |= 1;
            }
            self.set(SENDS + HEAD, (head + 1) % RING);
        }
    }

    /// The function gets a frame.
    fn receive(&self, frame: &[u8], with_checksum: bool) {
        let head = self.get(RECEIVES + HEAD);
        assert!(self.get(RECEIVES + CONTROL) == ENABLED && head != self.get(RECEIVES + TAIL), "no buffer");
        let descriptor = self.descriptor(RECEIVES, head);
        let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
        self.bytes(address, frame.len()).copy_from_slice(frame);
        let length = frame.len() + if with_checksum { CHECKSUM } else { 0 };
        descriptor[12..14].copy_from_slice(&(length as u16).to_le_bytes());
        descriptor[8] = 3;
        self.set(RECEIVES + HEAD, (head + 1) % RING);
    }

    fn receive_all(&self, frames: u16, seed: u64) {
        for number in 0..frames {
            let mut frame = [0; FRAME_LENGTH];
            fill_frame(&mut frame, HOST_ADDRESS, GUEST_ADDRESS, number, seed);
            self.receive(&frame, number % 2 == 0);
        }
    }
}

impl Registers for &Model {
    fn read(&self, at: usize) -> u32 {
        let value = self.get(at);
        if at == MAILBOX {
            self.set(at, value & !(ANSWER | WAS_READ));
        }
        value
    }

    fn write(&self, at: usize, value: u32) {
        match at {
            CTRL if value & RESET != 0 => {
                self.set(RECEIVES + CONTROL, 0);
                self.set(SENDS + CONTROL, 0);
            }
            MAILBOX if value & REQUEST != 0 => {
                let message = (0..3).map(|word| self.get(MESSAGE + 4 * word)).collect();
                self.messages.borrow_mut().push(message);
                if let Some(answer) = self.answers.borrow_mut().pop_front() {
                    self.set(MESSAGE, answer);
                    self.set(at, ANSWER | WAS_READ);
                }
            }
            MAILBOX if value & READ != 0 => {
                // The answer comes after what the driver has said by itself.
                let was_answer = self.get(MESSAGE) & KIND != OF_LINK;
                let answer = if was_answer { None } else { self.answers.borrow_mut().pop_front() };
                self.set(MESSAGE, answer.unwrap_or_default());
                self.set(at, answer.map_or(0, |_| ANSWER));
            }
            MAILBOX => self.set(at, self.get(at) & !OURS | value & OURS),
            _ => self.set(at, value),
        }
        if at == SENDS + TAIL {
            self.send();
        }
    }
}

#[test]
fn a_function_is_started_once_until_it_is_reset() {
    let model = Model::good();
    model.driver().start().unwrap();
    let messages = model.messages.borrow().clone();
    assert_eq!(messages[0][0], OF_RESET);
    assert_eq!(messages[1], [OF_ADDRESS, 0x6c32_7302, 0x6761], "the address, as its bytes lie");
    assert_eq!((model.get(RECEIVES + SPLIT), model.base(SENDS)), (ONE_BUFFER, ADDRESS));
    model.driver().start().unwrap();
    assert_eq!(model.messages.borrow().len(), 2);
    (&model).write(CTRL, RESET);
    assert_eq!(model.driver().start(), Err(Trouble::Silent), "it has no answer any more");
    assert_eq!(model.messages.borrow().len(), 3);
}

#[test]
fn a_driver_that_does_not_answer_or_refuses_is_named() {
    assert_eq!(Model::new(&[]).driver().start(), Err(Trouble::Silent));
    let refuses = Model::new(&[OF_RESET | REFUSED, OF_ADDRESS | REFUSED]);
    assert_eq!(refuses.driver().start(), Err(Trouble::Address));
    assert_eq!(refuses.get(RECEIVES + CONTROL), 0);
}

#[test]
fn an_answer_comes_after_what_the_driver_says_by_itself() {
    let model = Model::new(&[OF_LINK, OF_RESET | REFUSED, OF_LINK, OF_LINK, OF_ADDRESS | 1 << 31]);
    model.driver().start().unwrap();
    assert_eq!(model.messages.borrow().len(), 2);
    let refuses = Model::new(&[OF_RESET | REFUSED, OF_LINK, OF_ADDRESS | REFUSED]);
    assert_eq!(refuses.driver().start(), Err(Trouble::Address));
}

#[test]
fn frames_are_sent_around_the_end_of_the_ring() {
    let model = Model::good();
    model.driver().start().unwrap();
    for seed in 0..3 {
        model.driver().send(MOST_FRAMES, seed).unwrap();
        let sent = std::mem::take(&mut *model.sent.borrow_mut());
        assert_eq!(sent.len(), usize::from(MOST_FRAMES));
        for (number, frame) in (0..).zip(sent) {
            assert_eq!(frame_difference(&frame, GUEST_ADDRESS, HOST_ADDRESS, number, seed), None);
        }
    }
    model.keeps.set(true);
    assert_eq!(model.driver().send(1, 0), Err(Trouble::Unsent));
}

#[test]
fn frames_are_received_around_the_end_of_the_ring() {
    let model = Model::good();
    model.driver().start().unwrap();
    for seed in 0..3 {
        model.receive(&[0xff; 60], false);
        model.receive_all(MOST_FRAMES, seed);
        assert_eq!(model.driver().receive(MOST_FRAMES, seed), None);
    }
}

#[test]
fn what_is_wrong_in_a_frame_has_its_offset() {
    let model = Model::good();
    model.driver().start().unwrap();
    assert_eq!(model.driver().receive(1, 5), Some(0), "none came");
    model.receive_all(2, 5);
    assert_eq!(model.driver().receive(3, 5), Some(2 * FRAME_DATA), "one is missing");
    model.receive_all(2, 5);
    let buffer = Memory::buffer(RECEIVED, 3);
    model.bytes(ADDRESS + buffer, FRAME_LENGTH)[FRAME_LENGTH - 1] ^= 0x80;
    assert_eq!(model.driver().receive(2, 5), Some(2 * FRAME_DATA - 8));
    model.receive_all(1, 6);
    assert_eq!(model.driver().receive(1, 5), Some(0), "another pattern");
    model.receive(&[0; 1500], false);
    model.receive_all(1, 5);
    assert_eq!(model.driver().receive(1, 5), None);
}

#[test]
fn a_small_bar_has_no_registers() {
    // SAFETY: nothing is accessed.
    let at = |size| unsafe { InBar::at(NonNull::dangling(), size) };
    assert!(at(REGISTERS).is_some() && at(REGISTERS - 1).is_none());
}
