//! Faults: s2lab must neither lie nor hang when something goes wrong. Each row of the table of
//! faults runs a cell for real against [`fake_qemu`]; this program itself plays QEMU when it is
//! started as such.

mod agent;
mod archive;
mod attempts;
mod cache;
mod compare;
mod disk;
mod document;
mod harness;
mod home;
mod kernels;
mod lab;
mod looks;
mod nights;
mod row;
mod saved;
mod sessions;
mod shards;
mod table;
mod waiting;
mod whole;

use libtest_mimic::{Arguments, Trial};
use std::{
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The default number of rows at a time: most of them wait most of the time.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    if std::env::args().next().is_some_and(|name| name.ends_with(fake_qemu::vmm::NAME)) {
        return fake_qemu::vmm::main();
    }
    if let Some(root) = std::env::var_os(fake_qemu::real::AGENT) {
        return fake_qemu::real::main(root.as_ref());
    }
    if std::env::var_os(fake_qemu::SCRIPT).is_some() {
        return fake_qemu::main();
    }
    if let Some(folder) = std::env::var_os(lab::FOLDER) {
        return lab::main(folder.as_ref());
    }
    if let Some(cache) = std::env::var_os(cache::CACHE) {
        return cache::main(cache.as_ref());
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        print(panic);
    }));
    let rows = table::groups().into_iter().flat_map(|group| group.rows);
    let rows = rows.map(|row| Trial::test(row.name, move || Ok(harness::hold(&row)?)));
    let mountable = disk::permitted();
    let whole = whole::RUNS.iter().map(|run| {
        let trial = Trial::test(run.name, || Ok((run.holds)()?));
        trial.with_ignored_flag(run.mounts && !mountable)
    });
    let document = Trial::test("the-document-is-the-table", || Ok(document::is_the_table()?));
    let whole = whole.chain([document]);
    let conclusion = libtest_mimic::run(&arguments, rows.chain(whole).collect());
    // A panic also counts in a task that nobody waits for.
    if PANICS.load(Ordering::SeqCst) > 0 {
        eprintln!("something panicked");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
