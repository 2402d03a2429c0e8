//! The common parts of host and guest.

use crate::exit::fatal;
use crate::init::uptime_ms;
use crate::link::{Link, LinkError, in_json};
use crate::modules::ModuleError;
use crate::port::Port;
use crate::root::Root;
use s2lab_protocol::{Failure, FinalRecord, Hello, Level, Notice, TableMemory, ask::Ask, test_line};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The time in which the final record must leave the machine.
const FAREWELL: Duration = Duration::from_secs(5);

/// A level that answers a request.
pub(crate) trait Answers<A: Ask> {
    fn answer(&mut self, ask: A) -> Result<A::Answer, Failure>;

    /// The answer as it travels.
    fn reply(&mut self, ask: A) -> Result<Value, Failure> {
        in_json(&self.answer(ask)?)
    }
}

/// Says hello, after the line in the kernel's log by which s2lab tests the console.
pub(crate) fn say_hello(root: &Root, link: &Link, level: Level, nonce: u64) -> Result<(), LinkError> {
    let logged = match level {
        Level::Host => root.log(&test_line(nonce)),
        // The guests' kernel is the same for all hosts.
        Level::Guest => Ok(()),
    };
    link.notice(Notice::Hello(Hello {
        level,
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        page_size: u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX),
        uptime_ms: uptime_ms(),
        taint: root.taint(),
    }))?;
    match logged {
        Ok(()) => Ok(()),
        Err(why) => link.log(format!("cannot write to the kernel's log: {why}")),
    }
}

/// The context of a level's work.
pub(crate) struct Agent {
    pub(crate) root: Root,
    pub(crate) link: Arc<Link>,
    pub(crate) port: Port,
    /// The modules that did not load. A request that needs one reports it.
    pub(crate) failed_modules: Vec<ModuleError>,
}

impl Agent {
    /// Sends the final record and returns when it has left the machine.
    pub(crate) fn finish(&self, id: u64, tables: Option<TableMemory>) -> Result<(), LinkError> {
        // The machine is switched off in any case.
        drop(std::thread::Builder::new().spawn(|| {
            std::thread::sleep(FAREWELL);
            fatal("the final record was not taken in time")
        }));
        self.port.deliver_at_once().map_err(|why| LinkError::Stream { doing: "finishing", why })?;
        let taint = self.root.taint();
        self.link.record(id, |answered| FinalRecord { answered, taint, tables })
    }
}
