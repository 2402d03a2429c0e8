//! The version of QEMU's plugin interface: which one the plugin declares, and the callbacks whose
//! arguments depend on it.

use crate::{
    begun,
    qemu::{self, Id},
    translated, vcpu_resumed, vcpu_started,
};
use core::{
    ffi::{CStr, c_int, c_uint, c_void},
    ptr::null_mut,
    sync::atomic::{AtomicI32, Ordering::Relaxed},
};
use s2lab_trace::{INTERFACE, INTERFACES};

/// The version that the plugin declares. QEMU reads it before it calls the plugin, and refuses one
/// that it does not take.
#[unsafe(no_mangle)]
pub(crate) static qemu_plugin_version: AtomicI32 = AtomicI32::new(INTERFACES[0]);

/// The first version whose callbacks get their user's data in place of the plugin's id.
const WITH_DATA: c_int = 7;

/// The loader calls it before QEMU sees the library.
#[used]
#[unsafe(link_section = ".init_array")]
static WHEN_LOADED: extern "C" fn() = declare;

/// Declares the version that the environment names, if the plugin serves it.
extern "C" fn declare() {
    // SAFETY: the name ends with a NUL, and nothing changes the environment while a library is loaded.
    let value = unsafe { qemu::getenv(INTERFACE.as_ptr()) };
    if value.is_null() {
        return;
    }
    // SAFETY: getenv(3) returns a string.
    let value = unsafe { CStr::from_ptr(value) }.to_bytes();
    let version = crate::decimal(value).filter(|version| INTERFACES.contains(version));
    // QEMU takes no plugin of version 0, and says so.
    qemu_plugin_version.store(version.unwrap_or(0), Relaxed);
}

/// Returns true if callbacks get their user's data in place of the plugin's id.
fn is_with_data() -> bool {
    qemu_plugin_version.load(Relaxed) >= WITH_DATA
}

/// Registers what QEMU calls for a new vCPU and one that goes on. Their data is the plugin's id.
///
/// # Safety
/// QEMU has taken the plugin, and `id` is the one that it got.
pub(crate) unsafe fn register(id: Id) {
    let (started, resumed) = match is_with_data() {
        false => (started_by_id as *const c_void, resumed_by_id as *const c_void),
        true => (started_with_data as *const c_void, resumed_with_data as *const c_void),
    };
    // SAFETY: the callbacks have the types of the declared version.
    unsafe {
        qemu::qemu_plugin_register_vcpu_init_cb(id, started, null_mut());
        qemu::qemu_plugin_register_vcpu_resume_cb(id, resumed, id as usize as *mut c_void);
    }
}

/// Registers what QEMU calls for a new translation block. Each vCPU learns of it before it goes on.
///
/// # Safety
/// The same.
pub(crate) unsafe fn record(id: Id) {
    let translated = match is_with_data() {
        false => translated_by_id as *const c_void,
        true => translated_with_data as *const c_void,
    };
    // SAFETY: the callback has the type of the declared version.
    unsafe { qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, translated, null_mut()) };
    begun();
}

/// Has QEMU drop all translated code and all callbacks while no vCPU runs, and then call [`dropped`] (QEMU 10.0
/// plugins/loader.c, plugin_flush_destroy).
///
/// # Safety
/// The same, on a vCPU's thread.
pub(crate) unsafe fn reset(id: Id) {
    // SAFETY: a version with data calls with it, another one with the id: both are the id.
    unsafe { qemu::qemu_plugin_reset(id, dropped, id as usize as *mut c_void) };
}

extern "C" fn dropped(id: usize) {
    // SAFETY: QEMU has given this id.
    unsafe { record(id as Id) };
}

extern "C" fn resumed_by_id(id: Id, _: c_uint) {
    vcpu_resumed(id);
}

extern "C" fn resumed_with_data(_: c_uint, id: *mut c_void) {
    vcpu_resumed(id as usize as Id);
}

extern "C" fn started_by_id(_: Id, vcpu: c_uint) {
    vcpu_started(vcpu);
}

extern "C" fn started_with_data(vcpu: c_uint, _: *mut c_void) {
    vcpu_started(vcpu);
}

extern "C" fn translated_by_id(_: Id, block: *mut c_void) {
    translated(block);
}

extern "C" fn translated_with_data(block: *mut c_void, _: *mut c_void) {
    translated(block);
}
