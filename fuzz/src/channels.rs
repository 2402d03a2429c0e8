//! QEMU's channels: s2lab's own clients receive all bytes at once, then the end of the stream.

use s2lab::host::{
    emulated::{
        commands::{Cont, QueryPci, QueryStatus, Stop},
        gdb::Gdb,
        qmp::Qmp,
    },
    ending::Ending,
};
use std::{
    io::{self, Write},
    net::Shutdown,
    os::unix::net,
    thread::Builder,
    time::Duration,
};
use tokio::{
    net::UnixStream,
    runtime::{self, Runtime},
};

/// The most bytes that a socket takes before its peer reads.
const MOST: usize = 64 * 1024;
/// The deadline of a client. A stream that has ended needs no wait, so a client that reaches the
/// deadline hangs.
const DEADLINE: Duration = Duration::from_secs(20);
/// A register that the recorded descriptions have, and one of 32 bits.
const REGISTERS: [&str; 3] = ["VTTBR_EL2", "x19", "cpsr"];

/// Runs the gdbstub client: the registers' description, then their values on two vCPUs.
pub(crate) fn gdb(data: &[u8]) {
    run(data, |stream| async move {
        let Ok(mut gdb) = Gdb::connect(stream, DEADLINE, Ending::unknown()).await else { return };
        for vcpu in 0..2 {
            for name in REGISTERS {
                let _ = gdb.register(vcpu, name).await;
            }
            let _ = gdb.resume_after_cancel().await;
        }
    });
}

/// Runs the QMP client: the greeting, and answers to commands of different types.
pub(crate) fn qmp(data: &[u8]) {
    run(data, |stream| async move {
        let Ok(mut qmp) = Qmp::connect(stream, DEADLINE, Ending::unknown()).await else { return };
        let mut events = qmp.events();
        let _ = qmp.execute(Cont {}).await;
        let _ = qmp.execute(QueryPci {}).await;
        let _ = qmp.execute(Stop {}).await;
        let _ = qmp.execute(QueryStatus {}).await;
        while events.try_recv().is_ok() {}
    });
}

/// Runs a client on a stream that has `data` and nothing more.
pub(crate) fn run<F: Future<Output = ()>>(data: &[u8], client: impl FnOnce(UnixStream) -> F) {
    let data = data.get(..MOST).unwrap_or(data);
    let (ours, mut theirs) = must(net::UnixStream::pair());
    must(theirs.write_all(data));
    must(theirs.shutdown(Shutdown::Write));
    must(ours.set_nonblocking(true));
    // QEMU reads what it is sent. A name in a description may be long, and be asked for many times.
    let reader = must(Builder::new().spawn(move || io::copy(&mut theirs, &mut io::sink())));
    must(runtime()).block_on(async {
        let done = tokio::time::timeout(DEADLINE, client(must(UnixStream::from_std(ours)))).await;
        assert!(done.is_ok(), "it waits for a stream that has ended");
    });
    // The client is gone, so this ends, with or without an error.
    drop(reader.join());
}

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Returns the value. A failure of the machine itself is not a finding, but the target cannot
/// continue.
fn must<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|why| panic!("no channel to fuzz with: {why}"))
}
