//! The agent in a guest (L2): a file for each request that it answers.

mod bar;
mod hold;
mod load;
pub(crate) mod probe;
mod span;
mod store;

use crate::agent::{Agent, Answers};
use crate::link::{Incoming, LinkError};
use crate::port::Port;
use crate::{fault, root::Root};
use bar::Mapped;
use hold::Spinner;
use s2lab_protocol::ask::{GuestRequest, Request};
use s2lab_protocol::{Body, Failure, MapKind};
use serde_json::Value;
pub(crate) use span::moved;

/// State that a guest keeps between requests.
struct Guest {
    root: Root,
    /// The mapped BARs. They stay mapped, because a look walks their stage 1.
    mapped: Vec<Mapped>,
    /// Spin while the guest is held.
    spinners: Vec<Spinner>,
}

/// Answers requests until s2lab closes the link.
pub(crate) fn serve(agent: &Agent, mut incoming: Incoming<Port>) -> Result<(), LinkError> {
    let mut guest = Guest { root: agent.root.clone(), mapped: Vec::new(), spinners: Vec::new() };
    while let Some(frame) = incoming.next_frame()? {
        match frame.body {
            Body::Request { id, request } => agent.link.reply(id, guest.dispatch(request))?,
            other => agent.link.log(format!("ignored a frame that is no request: {other:?}"))?,
        }
    }
    Ok(())
}

impl Guest {
    fn dispatch(&mut self, request: Request) -> Result<Value, Failure> {
        let Request::Guest(request) = request else { return Err(fault::wrong_level(&request)) };
        match request {
            GuestRequest::Hold(ask) => self.reply(ask),
            GuestRequest::Load(ask) => self.reply(ask),
            GuestRequest::Probe(ask) => self.reply(ask),
            GuestRequest::Release(ask) => self.reply(ask),
            GuestRequest::Store(ask) => self.reply(ask),
        }
    }

    /// The BAR of the device at `address`, mapped as `map`: as it is, or anew.
    fn map(&mut self, device: &str, address: &str, map: MapKind) -> Result<&Mapped, Failure> {
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
