//! The program: its first instructions, its exception vector, its end.

#![no_std]
#![no_main]

use core::{
    arch::{asm, global_asm},
    panic::PanicInfo,
};
use s2lab_judge::{judge, ram};
use s2lab_judge_records::{DONE, FAILED, Head};

// All registers that the vector changes are its own or saved: TPIDR_EL0 gets ESR_EL2 if TPIDR_EL1
// is not 0, see machine.rs. Any other exception is the end.
//
// RAM is one block of write-back memory, because compiled code has unaligned accesses, which Device
// memory, as all memory is with the MMU off, does not take. TCR_EL2: T0SZ 25, 40-bit addresses, and
// the bits that are RES1.
//
// The copying functions are here because a C library, which usually has them, is not.
global_asm!(
    r#"
    .section .text.start, "ax"
    .global start
start:
    adrp x0, stack_top
    add x0, x0, :lo12:stack_top
    mov sp, x0
    mov x0, #0x33ff
    msr cptr_el2, x0
    adr x0, vectors
    msr vbar_el2, x0
    adr x0, tables
    msr ttbr0_el2, x0
    mov x0, #0xff
    msr mair_el2, x0
    mov x0, #25
    movk x0, #0x8082, lsl #16
    msr tcr_el2, x0
    isb
    mrs x0, sctlr_el2
    orr x0, x0, #1
    orr x0, x0, #4
    msr sctlr_el2, x0
    isb
    b judge_main

    .balign 0x1000
tables:
    .quad 0
    .quad 0x40000701
    .fill 510, 8, 0

    .balign 0x800
vectors:
    .rept 4
    .balign 0x80
    b unexpected
    .endr
    .balign 0x80
    msr tpidr_el2, x0
    mrs x0, tpidr_el1
    cbz x0, unexpected
    mrs x0, esr_el2
    msr tpidr_el0, x0
    mrs x0, elr_el2
    add x0, x0, #4
    msr elr_el2, x0
    mrs x0, tpidr_el2
    eret
    .rept 3
    .balign 0x80
    b unexpected
    .endr
    .balign 0x80
    b judge_back
    .rept 7
    .balign 0x80
    b unexpected
    .endr
    .balign 0x80
unexpected:
    mrs x0, esr_el2
    b judge_unexpected

    .text
    .global memcpy, memmove, memset, memcmp
memmove:
    cmp x0, x1
    b.hi 2f
memcpy:
    mov x3, x0
1:  cbz x2, 9f
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    sub x2, x2, #1
    b 1b
2:  cbz x2, 9f
    sub x2, x2, #1
    ldrb w4, [x1, x2]
    strb w4, [x0, x2]
    b 2b
memset:
    mov x3, x0
1:  cbz x2, 9f
    strb w1, [x3], #1
    sub x2, x2, #1
    b 1b
memcmp:
    mov x3, x0
    mov x0, #0
1:  cbz x2, 9f
    ldrb w4, [x3], #1
    ldrb w5, [x1], #1
    sub x2, x2, #1
    subs w0, w4, w5
    b.eq 1b
9:  ret
    "#
);

#[unsafe(no_mangle)]
extern "C" fn judge_main() -> ! {
    judge();
    end(DONE, 0)
}

#[unsafe(no_mangle)]
extern "C" fn judge_unexpected(esr: u64) -> ! {
    end(FAILED, esr)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    end(FAILED, info.location().map_or(0, |at| at.line().into()))
}

/// Notes the end and turns the machine off (PSCI 1.0, SYSTEM_OFF).
fn end(state: u64, failure: u64) -> ! {
    ram::set(Head::Failure.at(), failure);
    ram::set(Head::State.at(), state);
    // SAFETY: QEMU's `virt` with virtualization answers PSCI to SMC. If it did not, the machine
    // would wait here for its deadline.
    unsafe { asm!("mov x0, #0x84000000", "add x0, x0, #8", "smc #0", "1: wfi", "b 1b", options(noreturn)) }
}
