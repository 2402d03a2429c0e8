//! The registers of a vCPU, by QEMU's handles for them.

use crate::qemu::{
    Array, Descriptor, g_array_free, g_array_get_element_size, g_byte_array_free, g_byte_array_new,
    g_byte_array_set_size, qemu_plugin_get_registers, qemu_plugin_read_register,
};
use core::{
    ffi::{CStr, c_void},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};
use s2lab_trace::UNREAD;

/// x0 to x30.
const GENERAL: usize = 31;

/// QEMU's handles. They are written when the vCPU starts.
pub(crate) struct Registers {
    general: [AtomicPtr<c_void>; GENERAL],
    pub(crate) pstate: AtomicPtr<c_void>,
    pub(crate) vttbr: AtomicPtr<c_void>,
    pub(crate) hcr: AtomicPtr<c_void>,
    pub(crate) vbar: AtomicPtr<c_void>,
    pub(crate) esr: AtomicPtr<c_void>,
    pub(crate) hpfar: AtomicPtr<c_void>,
}

impl Registers {
    pub(crate) const fn new() -> Self {
        Self {
            general: [const { AtomicPtr::new(null_mut()) }; GENERAL],
            pstate: AtomicPtr::new(null_mut()),
            vttbr: AtomicPtr::new(null_mut()),
            hcr: AtomicPtr::new(null_mut()),
            vbar: AtomicPtr::new(null_mut()),
            esr: AtomicPtr::new(null_mut()),
            hpfar: AtomicPtr::new(null_mut()),
        }
    }

    /// Finds the handles, on the vCPU's own thread, and returns the number of missing ones.
    pub(crate) fn find(&self) -> u64 {
        // SAFETY: QEMU returns a GArray of descriptors, which is ours to free, or NULL.
        unsafe {
            let all = qemu_plugin_get_registers();
            if all.is_null() {
                return (GENERAL + self.system().len()) as u64;
            }
            let (first, size) = ((*all).data, g_array_get_element_size(all) as usize);
            for index in 0..(*all).len as usize {
                let descriptor = &*first.add(index * size).cast::<Descriptor>();
                if let Some(place) = self.place(CStr::from_ptr(descriptor.name).to_bytes()) {
                    place.store(descriptor.handle, Relaxed);
                }
            }
            g_array_free(all, 1);
        }
        let all = self.general.iter().chain(self.system());
        all.filter(|handle| handle.load(Relaxed).is_null()).count() as u64
    }

    fn system(&self) -> [&AtomicPtr<c_void>; 6] {
        [&self.pstate, &self.vttbr, &self.hcr, &self.vbar, &self.esr, &self.hpfar]
    }

    /// Returns the place for the handle of that name (QEMU 10.0 gdb-xml/aarch64-core.xml,
    /// target/arm/gdbstub.c).
    fn place(&self, name: &[u8]) -> Option<&AtomicPtr<c_void>> {
        match name {
            b"cpsr" => Some(&self.pstate),
            b"VTTBR_EL2" => Some(&self.vttbr),
            b"HCR_EL2" => Some(&self.hcr),
            b"VBAR_EL2" => Some(&self.vbar),
            b"ESR_EL2" => Some(&self.esr),
            b"HPFAR_EL2" => Some(&self.hpfar),
            [b'x', digits @ ..] => self.general.get(number(digits)?),
            _ => None,
        }
    }

    /// Returns the handle of Xn, or None for XZR.
    pub(crate) fn general(&self, number: usize) -> Option<&AtomicPtr<c_void>> {
        self.general.get(number)
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    match digits {
        [one @ b'0'..=b'9'] => Some(usize::from(one - b'0')),
        [ten @ b'1'..=b'9', one @ b'0'..=b'9'] => {
            Some(usize::from(ten - b'0') * 10 + usize::from(one - b'0'))
        }
        _ => None,
    }
}

/// A buffer for the content of registers.
pub(crate) struct Buffer(*mut Array);

impl Buffer {
    pub(crate) fn new() -> Self {
        // SAFETY: GLib aborts rather than returning NULL.
        Self(unsafe { g_byte_array_new() })
    }

    /// Returns the low 64 bits of a register, in a callback that may read registers.
    pub(crate) fn read(&self, handle: &AtomicPtr<c_void>) -> u64 {
        let handle = handle.load(Relaxed);
        if handle.is_null() {
            return UNREAD;
        }
        // SAFETY: the handle is QEMU's for this vCPU, and the array is ours.
        unsafe {
            g_byte_array_set_size(self.0, 0);
            qemu_plugin_read_register(handle, self.0);
            let length = ((*self.0).len as usize).min(8);
            // The guest is little endian, as AArch64 under Linux.
            (0..length).rev().fold(0, |value, at| value << 8 | u64::from(*(*self.0).data.add(at)))
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once.
        unsafe { g_byte_array_free(self.0, 1) };
    }
}
