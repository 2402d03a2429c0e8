//! Kernels that s2lab builds and CI does not: each does what it declares. They need a whole build and a
//! small one besides those of [`crate::built_kernels`].

use crate::{built_kernels::do_what_they_declare, harness::Place};

const KERNELS: [(&str, &str); 2] =
    [("linux-6.1-wc-v6", "nic Normal-NC"), ("linux-6.1-wc-kvm-only", "nic Device-nGnRE")];

#[test]
#[ignore = "builds kernels: CONTRIBUTING.md has the command"]
fn other_built_kernels_do_what_they_declare() {
    do_what_they_declare(&Place::new(), &KERNELS);
}
