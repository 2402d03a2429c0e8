//! Memory of s2lab's own kernel module.

use super::*;
use crate::row::Module;

pub(super) fn modules() -> Vec<Row> {
    let without = |name, module| Row { module, ..good(name).with_the_module() };
    vec![
        good("a-marked-vma-of-the-module").with_the_module(),
        Row {
            script: Script::default(),
            verdict: "PASS as before the series",
            ..good("a-marked-vma-before-the-series")
        }
        .with_the_module(),
        fault("a-mark-that-the-vma-does-not-have", Moment::Start, Act::OtherFlags)
            .with_the_module()
            .judged("FAIL", "by the scenario: no flag `??` instead of flag `??`"),
        without("module-of-a-kernel-that-is-not-built-here", Module::None).stops(
            "SKIP(the kernel is not built here, so s2lab's own module cannot be built for it)",
            Stage::Preflight,
            "s2lab's own module cannot be built",
        ),
        without("module-that-does-not-build", Module::Failed).stops("MISS", Stage::Preflight, "the compiler"),
    ]
}
