//! A driver of a virtual function of Intel's 82576, which vCPUs execute. It polls, and keeps its state in the
//! function's registers alone: a function that was reset is started anew by the next call.
//!
//! The registers and their meaning are those of Linux 7.3 drivers/net/ethernet/intel/igbvf (regs.h, defines.h, mbx.h,
//! vf.c, netdev.c), and of QEMU 10.0 hw/net/igbvf.c and igb_core.c.

use s2lab_protocol::ethernet::{
    FRAME_LENGTH, GUEST_ADDRESS, HOST_ADDRESS, MOST_FRAMES, fill_frame, frame_difference, is_frame, start,
};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

/// The descriptors of each ring: more than the frames of a call, so that a ring is never full.
const RING: u32 = 2 * MOST_FRAMES as u32;
/// Bytes of a buffer for one frame: the unit of SRRCTL is 1 KiB.
const BUFFER: u64 = 2048;
/// The parts of the memory for DMA.
const SENT_RING: u64 = 0;
const RECEIVED_RING: u64 = SENT_RING + RING as u64 * size_of::<Descriptor>() as u64;
const SENT: u64 = (RECEIVED_RING + RING as u64 * size_of::<Descriptor>() as u64).next_multiple_of(BUFFER);
const RECEIVED: u64 = SENT + RING as u64 * BUFFER;
/// The bytes of that memory.
pub(super) const MEMORY: u64 = RECEIVED + RING as u64 * BUFFER;
/// The bytes of the registers.
const REGISTERS: u64 = 16 << 10;

const CTRL: usize = 0x0000;
/// CTRL: the function resets itself.
const RESET: u32 = 1 << 26;
/// The words of a message, and the register that says whose they are.
const MESSAGE: usize = 0x0800;
const MAILBOX: usize = 0x0c40;
/// MAILBOX: there is a message for the physical function; its message is read; the words are those of this function; it
/// has a message for this function; it has read that of this function.
const REQUEST: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const OURS: u32 = 1 << 2;
const ANSWER: u32 = 1 << 4;
const WAS_READ: u32 = 1 << 5;
/// The kinds of messages, and the bit of an answer that refuses.
const OF_RESET: u32 = 1;
const OF_ADDRESS: u32 = 2;
const KIND: u32 = 0xffff;
const REFUSED: u32 = 1 << 30;

/// The registers of a queue, by the place of the first one.
const RECEIVES: usize = 0x2800;
const SENDS: usize = 0x3800;
const BASE_LOW: usize = 0x00;
const BASE_HIGH: usize = 0x04;
const LENGTH: usize = 0x08;
const SPLIT: usize = 0x0c;
const HEAD: usize = 0x10;
const TAIL: usize = 0x18;
const CONTROL: usize = 0x28;
/// CONTROL: the queue is enabled.
const ENABLED: u32 = 1 << 25;
/// SPLIT (SRRCTL): advanced descriptors with one buffer, of 2 KiB.
const ONE_BUFFER: u32 = 1 << 25 | (BUFFER >> 10) as u32;

/// A descriptor to send: data, by an advanced descriptor; the whole frame with a checksum; its end is reported.
const DATA: u32 = 3 << 20 | 1 << 29 | 1 << 24 | 1 << 25 | 1 << 27;
/// The shift of the length of all data.
const ALL: u32 = 14;
/// The status of a descriptor: the function is done with it.
const DONE: u32 = 1 << 0;
/// Bytes of the checksum, which a function may leave at the end of a frame.
const CHECKSUM: usize = 4;

/// Access to the registers of a function.
pub(super) trait Registers {
    fn read(&self, at: usize) -> u32;
    fn write(&self, at: usize, value: u32);
}

/// The registers in a mapped BAR.
#[derive(Debug, Clone, Copy)]
pub(super) struct InBar(NonNull<u8>);

impl InBar {
    /// # Safety
    /// The BAR with `size` bytes is mapped at `base` on the CPU that uses the registers, and is that of a virtual function
    /// of the 82576. Returns None if it is too small for one.
    pub(super) unsafe fn at(base: NonNull<u8>, size: u64) -> Option<InBar> {
        (size >= REGISTERS).then_some(InBar(base))
    }

    fn register(&self, at: usize) -> NonNull<u32> {
        self.0.map_addr(|base| base.saturating_add(at)).cast()
    }
}

impl Registers for InBar {
    fn read(&self, at: usize) -> u32 {
        // SAFETY: the register lies in the BAR.
        u32::from_le(unsafe { self.register(at).read_volatile() })
    }

    fn write(&self, at: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.register(at).write_volatile(value.to_le()) }
    }
}

/// Memory that CPU and function access.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    base: NonNull<u8>,
    /// The address of the first byte for the function.
    address: u64,
}

impl Memory {
    /// # Safety
    /// [`MEMORY`] bytes are mapped at `base`, and nothing else uses them. For the function they are at `address`, a
    /// multiple of 128.
    pub(super) unsafe fn at(base: NonNull<u8>, address: u64) -> Memory {
        Memory { base, address }
    }

    fn place(&self, offset: u64) -> NonNull<u8> {
        self.base.map_addr(|base| base.saturating_add(offset as usize))
    }

    fn descriptor(&self, ring: u64, slot: u32) -> NonNull<Descriptor> {
        self.place(ring + u64::from(slot % RING) * size_of::<Descriptor>() as u64).cast()
    }

    /// Returns the offset of a buffer.
    fn buffer(buffers: u64, slot: u32) -> u64 {
        buffers + u64::from(slot % RING) * BUFFER
    }
}

/// A descriptor of either ring. `first` and `second` are the status and the length of a frame that was received, or the
/// command and the status of one that is sent.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Descriptor {
    address: u64,
    first: u32,
    second: u32,
}

/// The reason why a function does not transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The physical function's driver does not answer.
    Silent,
    /// It refuses the address of this function.
    Address,
    /// The function does not send.
    Unsent,
}

impl Trouble {
    pub(super) fn why(self) -> &'static str {
        match self {
            Trouble::Silent => "the driver of the physical function does not answer in its mailbox",
            Trouble::Address => "the driver of the physical function refuses the address of the virtual one",
            Trouble::Unsent => "the function does not report that a frame is sent",
        }
    }
}

/// A driver. `wait` calls a function until it returns true, and returns false if that takes too long.
pub(super) struct Driver<R> {
    pub(super) registers: R,
    pub(super) memory: Memory,
    pub(super) wait: fn(&mut dyn FnMut() -> bool) -> bool,
}

impl<R: Registers> Driver<R> {
    /// Starts the function, unless it runs. Frames for it are received from now on.
    pub(super) fn start(&self) -> Result<(), Trouble> {
        if self.registers.read(RECEIVES + CONTROL) & ENABLED != 0 {
            return Ok(());
        }
        self.registers.write(CTRL, RESET);
        self.ask(&[OF_RESET])?;
        let [a, b, c, d, e, f] = GUEST_ADDRESS;
        let address = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])];
        if self.ask(&[OF_ADDRESS, address[0], address[1]])? & REFUSED != 0 {
            return Err(Trouble::Address);
        }
        for slot in 0..RING {
            self.offer(slot);
        }
        self.make(SENDS, SENT_RING);
        self.make(RECEIVES, RECEIVED_RING);
        self.registers.write(SENDS + TAIL, 0);
        // The slot of the tail is the first one that the function does not use.
        self.registers.write(RECEIVES + TAIL, RING - 1);
        Ok(())
    }

    /// Makes an empty ring of a queue, and enables the queue.
    fn make(&self, queue: usize, ring: u64) {
        let base = self.memory.address + ring;
        let of_control = if queue == RECEIVES { Some((SPLIT, ONE_BUFFER)) } else { None };
        let values = [
            (CONTROL, 0),
            (BASE_LOW, base as u32),
            (BASE_HIGH, (base >> 32) as u32),
            (LENGTH, RING * size_of::<Descriptor>() as u32),
            (HEAD, 0),
            (TAIL, 0),
        ];
        for (register, value) in values.into_iter().chain(of_control).chain([(CONTROL, ENABLED)]) {
            self.registers.write(queue + register, value);
        }
    }

    /// Sends a message to the driver of the physical function, and returns the first word of its answer.
    fn ask(&self, message: &[u32]) -> Result<u32, Trouble> {
        self.own()?;
        for (word, at) in message.iter().zip((MESSAGE..).step_by(size_of::<u32>())) {
            self.registers.write(at, *word);
        }
        self.registers.write(MAILBOX, REQUEST);
        // A read clears the bits.
        let mut seen = 0;
        loop {
            let is_answered = (self.wait)(&mut || {
                seen |= self.registers.read(MAILBOX);
                seen & (WAS_READ | ANSWER) == WAS_READ | ANSWER
            });
            if !is_answered {
                return Err(Trouble::Silent);
            }
            self.own()?;
            let answer = self.registers.read(MESSAGE);
            self.registers.write(MAILBOX, READ);
            // The driver also says by itself that its link has changed.
            if answer & KIND == message.first().map_or(0, |word| word & KIND) {
                return Ok(answer);
            }
            seen &= !ANSWER;
        }
    }

    /// Takes the words of messages.
    fn own(&self) -> Result<(), Trouble> {
        let is_ours = (self.wait)(&mut || {
            self.registers.write(MAILBOX, OURS);
            self.registers.read(MAILBOX) & OURS != 0
        });
        is_ours.then_some(()).ok_or(Trouble::Silent)
    }

    /// Sends `frames` frames of a pattern.
    pub(super) fn send(&self, frames: u16, seed: u64) -> Result<(), Trouble> {
        let first = self.registers.read(SENDS + TAIL);
        for number in 0..frames {
            let slot = first.wrapping_add(number.into());
            let buffer = Memory::buffer(SENT, slot);
            // SAFETY: the buffer is ours, and larger than a frame. The function uses no slot behind its tail.
            let frame = unsafe { self.memory.place(buffer).cast::<[u8; FRAME_LENGTH]>().as_mut() };
            fill_frame(frame, GUEST_ADDRESS, HOST_ADDRESS, number, seed);
            let descriptor = Descriptor {
                address: self.memory.address + buffer,
                first: DATA | FRAME_LENGTH as u32,
                second: (FRAME_LENGTH as u32) << ALL,
            };
            // SAFETY: so is the descriptor.
            unsafe { self.memory.descriptor(SENT_RING, slot).write_volatile(descriptor) };
        }
        let end = first.wrapping_add(frames.into());
        let last = self.memory.descriptor(SENT_RING, end.wrapping_sub(1));
        fence(Ordering::SeqCst);
        self.registers.write(SENDS + TAIL, end % RING);
        // SAFETY: the descriptor is in the ring.
        let is_sent = (self.wait)(&mut || unsafe { last.read_volatile() }.second & DONE != 0);
        is_sent.then_some(()).ok_or(Trouble::Unsent)
    }

    /// Takes `frames` frames that were received, and gives their buffers back. Returns the offset of the first word that
    /// is not that of the pattern. A frame that does not come differs as a whole.
    pub(super) fn receive(&self, frames: u16, seed: u64) -> Option<u64> {
        let mut difference = None;
        let mut number = 0;
        while number < frames {
            let slot = self.registers.read(RECEIVES + TAIL).wrapping_add(1) % RING;
            let descriptor = self.memory.descriptor(RECEIVED_RING, slot);
            // SAFETY: the descriptor is in the ring.
            let is_there = (self.wait)(&mut || unsafe { descriptor.read_volatile() }.first & DONE != 0);
            if !is_there {
                return difference.or(Some(start(number)));
            }
            fence(Ordering::SeqCst);
            // SAFETY: as above.
            let length = unsafe { descriptor.read_volatile() }.second as usize & 0xffff;
            let place = self.memory.place(Memory::buffer(RECEIVED, slot));
            // SAFETY: the buffer is ours, and the function is done with it.
            let buffer = unsafe { place.cast::<[u8; BUFFER as usize]>().as_ref() };
            let length = if length == FRAME_LENGTH + CHECKSUM { FRAME_LENGTH } else { length };
            let frame = buffer.get(..length).unwrap_or_default();
            // Other frames of the host's kernel are of no interest.
            if is_frame(frame) {
                let of_frame = frame_difference(frame, HOST_ADDRESS, GUEST_ADDRESS, number, seed);
                difference = difference.or(of_frame);
                number += 1;
            }
            self.offer(slot);
            fence(Ordering::SeqCst);
            self.registers.write(RECEIVES + TAIL, slot);
        }
        difference
    }

    /// Makes a descriptor of a buffer that is free.
    fn offer(&self, slot: u32) {
        let address = self.memory.address + Memory::buffer(RECEIVED, slot);
        let descriptor = Descriptor { address, first: 0, second: 0 };
        // SAFETY: the descriptor is ours until the tail is behind it.
        unsafe { self.memory.descriptor(RECEIVED_RING, slot).write_volatile(descriptor) }
    }
}

#[cfg(test)]
mod tests;
