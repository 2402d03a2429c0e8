//! A vCPU with its first registers.

use kvm_ioctls::{Error, VcpuFd, VmFd};

/// Makes a vCPU of the host's own kind.
#[cfg(target_arch = "aarch64")]
pub(super) fn make(vm: &VmFd, id: u64, has_el2: bool, registers: &[(u64, u64)]) -> Result<VcpuFd, Error> {
    let mut init = kvm_bindings::kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init)?;
    if has_el2 {
        init.features[0] |= 1 << kvm_bindings::KVM_ARM_VCPU_HAS_EL2;
    }
    let vcpu = vm.create_vcpu(id)?;
    vcpu.vcpu_init(&init)?;
    for (register, value) in registers {
        vcpu.set_one_reg(*register, &value.to_le_bytes())?;
    }
    Ok(vcpu)
}

/// Other architectures have other registers.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn make(_: &VmFd, _: u64, _: bool, _: &[(u64, u64)]) -> Result<VcpuFd, Error> {
    Err(Error::new(rustix::io::Errno::NOSYS.raw_os_error()))
}
