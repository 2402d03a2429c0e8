//! The parts of QEMU's plugin interface that are used, versions 4 (QEMU 10.0
//! include/qemu/qemu-plugin.h, plugins/api.c) and 7 (QEMU 11.1 include/plugins/qemu-plugin.h), and of
//! the C library and GLib that are in QEMU's process. Nothing is linked: the loader finds them in the
//! process.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// `qemu_plugin_id_t`.
pub(crate) type Id = u64;

/// `enum qemu_plugin_cb_flags`: the callback reads registers.
pub(crate) const READS_REGISTERS: c_int = 1;

/// The callback reads no registers.
pub(crate) const READS_NOTHING: c_int = 0;
/// `enum qemu_plugin_mem_rw`: loads and stores.
pub(crate) const LOADS_AND_STORES: c_int = 3;

/// `qemu_info_t`, which is not read.
#[repr(C)]
pub struct Info {
    _opaque: [u8; 0],
}

/// `qemu_plugin_reg_descriptor`. Since version 5 it has one more field at its end, so
/// `g_array_get_element_size` has the distance of two.
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) handle: *mut c_void,
    pub(crate) name: *const c_char,
    pub(crate) feature: *const c_char,
}

/// GLib's `GArray` and `GByteArray`, the public part.
#[repr(C)]
pub(crate) struct Array {
    pub(crate) data: *mut u8,
    pub(crate) len: c_uint,
}

pub(crate) type InstructionCallback = extern "C" fn(c_uint, *mut c_void);

/// `qemu_plugin_meminfo_t`.
pub(crate) type MemoryInfo = u32;
pub(crate) type AccessCallback = extern "C" fn(c_uint, MemoryInfo, u64, *mut c_void);

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut c_void,
        callback: AccessCallback,
        flags: c_int,
        kinds: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_insn_vaddr(instruction: *const c_void) -> u64;
    pub(crate) fn qemu_plugin_mem_size_shift(info: MemoryInfo) -> c_uint;
    pub(crate) fn qemu_plugin_mem_is_store(info: MemoryInfo) -> bool;
    /// Returns NULL if the address is not known.
    pub(crate) fn qemu_plugin_get_hwaddr(info: MemoryInfo, address: u64) -> *const c_void;
    pub(crate) fn qemu_plugin_hwaddr_phys_addr(address: *const c_void) -> u64;
    /// Before version 7 it has no `data`. A function of C does not look at an argument more: it is in a
    /// register (System V ABI for x86-64, 3.2.3; AAPCS64, 6.8.2).
    pub(crate) fn qemu_plugin_register_vcpu_init_cb(id: Id, callback: *const c_void, data: *mut c_void);
    /// The same.
    pub(crate) fn qemu_plugin_register_vcpu_resume_cb(id: Id, callback: *const c_void, data: *mut c_void);
    /// The same. `callback` gets the id, or since version 7 the data.
    pub(crate) fn qemu_plugin_reset(id: Id, callback: extern "C" fn(usize), data: *mut c_void);
    /// The same as of `qemu_plugin_register_vcpu_init_cb`.
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: *const c_void, data: *mut c_void);
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut c_void,
        callback: InstructionCallback,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    pub(crate) fn qemu_plugin_insn_data(instruction: *const c_void, to: *mut c_void, length: usize) -> usize;
    pub(crate) fn qemu_plugin_get_registers() -> *mut Array;
    /// Appends the register's bytes.
    pub(crate) fn qemu_plugin_read_register(handle: *mut c_void, to: *mut Array) -> c_int;

    pub(crate) fn g_array_get_element_size(array: *mut Array) -> c_uint;
    pub(crate) fn g_array_free(array: *mut Array, with_data: c_int) -> *mut c_char;
    pub(crate) fn g_byte_array_new() -> *mut Array;
    pub(crate) fn g_byte_array_set_size(array: *mut Array, length: c_uint) -> *mut Array;
    pub(crate) fn g_byte_array_free(array: *mut Array, with_data: c_int) -> *mut u8;

    /// Returns NULL if the environment has no such variable.
    pub(crate) fn getenv(name: *const c_char) -> *const c_char;
    pub(crate) fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        descriptor: c_int,
        offset: i64,
    ) -> *mut c_void;
}

/// PROT_READ and PROT_WRITE (Linux include/uapi/asm-generic/mman-common.h).
pub(crate) const READ_WRITE: c_int = 1 | 2;
/// MAP_SHARED (Linux include/uapi/linux/mman.h).
pub(crate) const SHARED: c_int = 1;
/// MAP_FAILED.
pub(crate) const FAILED: usize = usize::MAX;
