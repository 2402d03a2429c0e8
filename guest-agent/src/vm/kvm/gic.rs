//! The GICv3 of a VM (Linux Documentation/virt/kvm/devices/arm-vgic-v3.rst). Nothing in the VM uses it. KVM runs
//! no vCPU with EL2 before it is initialized (Linux 7.3 arch/arm64/kvm/vgic/vgic.c, kvm_vgic_set_owner, which
//! returns EAGAIN).

use super::super::layout;
use kvm_bindings::{kvm_create_device, kvm_device_attr};
use kvm_ioctls::{DeviceFd, Error, VmFd};

// The bindings have them for arm64 alone (arch/arm64/include/uapi/asm/kvm.h).
const KVM_DEV_TYPE_ARM_VGIC_V3: u32 = 7;
const KVM_DEV_ARM_VGIC_GRP_ADDR: u32 = 0;
const KVM_VGIC_V3_ADDR_TYPE_DIST: u64 = 2;
const KVM_VGIC_V3_ADDR_TYPE_REDIST: u64 = 3;
const KVM_DEV_ARM_VGIC_GRP_CTRL: u32 = 4;
const KVM_DEV_ARM_VGIC_CTRL_INIT: u64 = 0;

/// Makes it for a VM that has all of its vCPUs. It stays as long as the VM.
pub(super) fn make(vm: &VmFd) -> Result<(), Error> {
    let mut device = kvm_create_device { type_: KVM_DEV_TYPE_ARM_VGIC_V3, fd: 0, flags: 0 };
    let gic = vm.create_device(&mut device)?;
    address(&gic, KVM_VGIC_V3_ADDR_TYPE_DIST, &layout::DISTRIBUTOR)?;
    address(&gic, KVM_VGIC_V3_ADDR_TYPE_REDIST, &layout::REDISTRIBUTORS)?;
    let (group, attr) = (KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT);
    gic.set_device_attr(&kvm_device_attr { group, attr, addr: 0, flags: 0 })
}

fn address(gic: &DeviceFd, attr: u64, ipa: &u64) -> Result<(), Error> {
    let (group, addr) = (KVM_DEV_ARM_VGIC_GRP_ADDR, std::ptr::from_ref(ipa) as u64);
    gic.set_device_attr(&kvm_device_attr { group, attr, addr, flags: 0 })
}
