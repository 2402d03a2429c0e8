//! What lies in the host's memory, by the word of QEMU and by that of the host.

use super::{
    stages::Stop,
    steps::{CellContext, wrong},
};
use crate::host::{deadlines::Deadline, emulated::roms};
use s2lab_model::event::Event;
use s2lab_protocol::{Peer, Reply, Request};

impl CellContext<'_> {
    /// By QEMU's word, while nothing but QEMU has written to it.
    pub(super) async fn loaded(&mut self) -> Result<(), Stop> {
        let loaded = roms::loaded(self.qmp, self.ram).await.map_err(|why| Stop::lab(why.to_string()))?;
        for part in loaded {
            self.log.event(Event::HostLoaded(part));
            self.around.loaded.push(part);
        }
        Ok(())
    }

    /// By the word of the host, which has booted and has no guest yet.
    pub(super) async fn memory(&mut self) -> Result<(), Stop> {
        let what = "read the map of its memory";
        let memory = match self.ask_host(Request::Memory, what, self.deadlines.of(Deadline::Request)).await? {
            Reply::Memory(memory) => memory,
            other => return Err(wrong(Peer::Host, what, &other)),
        };
        self.log.event(Event::HostMemory(memory.clone()));
        self.around.memory = Some(memory);
        Ok(())
    }
}
