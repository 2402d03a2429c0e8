//! The agent in a guest (L2): stores to the BARs of assigned devices.

mod bar;
mod hold;
mod store;
pub(crate) mod unaligned;

use crate::agent::Agent;
use crate::link::{Incoming, LinkError};
use crate::port::Port;
use crate::{fault, root::Root};
use bar::Mapped;
use hold::Held;
use s2lab_protocol::{Body, Failure, Reply, Request};
pub(crate) use store::stored;

/// What a guest keeps between requests.
struct Guest {
    root: Root,
    /// BARs stay mapped: a look walks their stage 1.
    mapped: Vec<Mapped>,
    held: Option<Held>,
}

/// Answers requests until [`Request::Finish`].
pub(crate) fn serve(agent: &Agent, mut incoming: Incoming<Port>) -> Result<(), LinkError> {
    let mut guest = Guest { root: agent.root.clone(), mapped: Vec::new(), held: None };
    while let Some(frame) = incoming.next_frame()? {
        match frame.body {
            Body::Request { id, request: Request::Finish } => {
                if let Some(held) = guest.held.take() {
                    held.release();
                }
                return agent.finish(id);
            }
            Body::Request { id, request } => agent.link.reply(id, guest.answer(request))?,
            other => agent.link.log(format!("ignored a frame that is no request: {other:?}"))?,
        }
    }
    Ok(())
}

impl Guest {
    fn answer(&mut self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Store(spec) => {
                store::check(&spec)?;
                let mapped = self.map(&spec.device, &spec.address, spec.map)?;
                store::run(&spec, mapped).map(Reply::Stored)
            }
            Request::Hold { nonce } => {
                if self.held.is_some() {
                    return Err(fault::invalid("the guest is held already"));
                }
                self.held = Some(Held::start(nonce)?);
                let mappings = self.mapped.iter().map(Mapped::mapping).collect();
                Ok(Reply::Held { pid: std::process::id(), mappings })
            }
            Request::Release => {
                let held = self.held.take().ok_or_else(|| fault::invalid("the guest is not held"))?;
                held.release();
                Ok(Reply::Released)
            }
            Request::Unaligned { address, map, offset } => {
                unaligned::probe(&address, map, offset).map(|outcome| Reply::Unaligned { outcome })
            }
            Request::Bind { .. } => Err(fault::unsupported("bind", "guest")),
            Request::Memory => Err(fault::unsupported("memory", "guest")),
            Request::StartGuest(_) => Err(fault::unsupported("start-guest", "guest")),
            Request::VmaFlags { .. } => Err(fault::unsupported("vma-flags", "guest")),
            Request::Reset { .. } => Err(fault::unsupported("reset", "guest")),
            Request::StopGuest { .. } => Err(fault::unsupported("stop-guest", "guest")),
            Request::Finish => Err(fault::invalid("finish ends the agent's loop")),
        }
    }

    fn map(&mut self, device: &str, address: &str, map: s2lab_protocol::MapKind) -> Result<&Mapped, Failure> {
        let there = self.mapped.iter().position(|m| m.is(address, map));
        let index = match there {
            Some(index) => index,
            None => {
                self.mapped.push(Mapped::open(&self.root, device, address, map)?);
                self.mapped.len() - 1
            }
        };
        self.mapped.get(index).ok_or_else(|| fault::invalid("no such mapping"))
    }
}
