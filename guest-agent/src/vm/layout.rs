//! The addresses of a VM.

/// The page of the VM's stage 1 in bytes.
pub(super) const PAGE: u64 = 1 << 12;
/// The alignment of the areas in RAM: the largest page of any stage 1.
pub(super) const AREA: u64 = 1 << 16;
/// The first byte of RAM, as an IPA: that of QEMU's machine `virt`.
pub(super) const RAM: u64 = 1 << 30;
/// The distributor and the redistributors of the GICv3 of a guest hypervisor, without which KVM does not run it.
/// They are where QEMU's machine `virt` has them.
pub(super) const DISTRIBUTOR: u64 = 0x0800_0000;
pub(super) const REDISTRIBUTORS: u64 = 0x080a_0000;
/// An IPA without a memslot. A store there ends KVM_RUN.
pub(super) const DOORBELL: u64 = 0x0900_0000;
/// The first IPA of BARs, as in a guest of QEMU's with a host bridge above RAM. The VM has IPAs of
/// 40 bits (KVM's default, Documentation/virt/kvm/api.rst, KVM_CREATE_VM).
pub(super) const BARS: u64 = 1 << 39;
/// The first IPA behind the BARs.
pub(super) const BARS_END: u64 = 1 << 40;
/// A block of stage 2 with pages of 4 KiB, and the least alignment of a BAR, so that it may have such blocks.
pub(super) const BLOCK: u64 = 2 << 20;
/// The first virtual address of mapped BARs. No kernel puts memory of a process there: it lies
/// between the program and the stack, far from both.
pub(super) const WINDOWS: u64 = 1 << 44;
/// The distance of two mapped BARs. The largest BAR has 1 GiB.
pub(super) const WINDOW: u64 = 1 << 36;
/// The virtual address of [`DOORBELL`].
pub(super) const DOORBELL_VA: u64 = WINDOWS - WINDOW;

/// Returns the IPAs of BARs of these sizes, in their order, or None if they do not fit.
pub(super) fn place(sizes: impl IntoIterator<Item = u64>) -> Option<Vec<u64>> {
    let mut next = BARS;
    let mut placed = vec![];
    for size in sizes {
        let start = next.checked_next_multiple_of(size.checked_next_power_of_two()?.max(BLOCK))?;
        next = start.checked_add(size).filter(|end| *end <= BARS_END)?;
        placed.push(start);
    }
    Some(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_aligned_and_do_not_overlap() {
        let sizes = [4 << 10, 1 << 30, 16 << 20, 64 << 10];
        let placed = place(sizes).unwrap();
        assert_eq!(placed[0], BARS);
        for (place, size) in placed.iter().zip(sizes) {
            assert!(place % size.max(BLOCK) == 0, "{place:#x}");
        }
        assert!(placed.windows(2).zip(sizes).all(|(two, size)| two[0] + size <= two[1]), "{placed:#x?}");
        assert_eq!(place([1 << 39, 1]), None);
        assert_eq!(place([u64::MAX]), None);
    }
}
