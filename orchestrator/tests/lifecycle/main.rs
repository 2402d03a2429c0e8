//! Whether s2lab lies or hangs when something goes wrong. Each row of the table of faults runs a cell for real, against
//! [`fake_qemu`]; this very program plays QEMU when it is started as such.

mod harness;
mod row;
mod table;

use libtest_mimic::{Arguments, Trial};
use std::{
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Rows that run at a time if nothing else is asked for: most of them wait most of the time.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    if std::env::var_os(fake_qemu::SCRIPT).is_some() {
        return fake_qemu::main();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        told(panic);
    }));
    let rows = table::rows()
        .into_iter()
        .map(|row| Trial::test(row.name, move || harness::hold(&row).map_err(Into::into)));
    let conclusion = libtest_mimic::run(&arguments, rows.collect());
    // Also one in a task that nobody waits for.
    if PANICS.load(Ordering::SeqCst) > 0 {
        eprintln!("something panicked");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
