//! The agent of a guest (L2): a file for each request that it answers. It is the same for a guest
//! with a Linux of its own, whose PID 1 it is, and for a VM of [`crate::vm`].

mod bar;
mod command;
pub(crate) mod hold;
mod linux;
pub(crate) mod load;
pub(crate) mod machine;
mod memslot;
mod plug;
pub(crate) mod probe;
mod program;
pub(crate) mod span;
pub(crate) mod store;
mod stores;
pub(crate) mod together;
mod transfer;

use crate::agent::Answers;
use crate::link::{Incoming, Link, LinkError};
use crate::program::Program;
use crate::{fault, root::Root};
use linux::Linux;
use machine::Machine;
use s2lab_protocol::ask::{GuestRequest, InGuest, Request};
use s2lab_protocol::{Body, Failure};
use serde_json::Value;
pub(crate) use span::moved;
use std::io::Read;
use stores::Background;

/// A guest between requests.
struct Guest<M: Machine> {
    machine: M,
    /// None: it has no operating system.
    program: Option<Program>,
    /// The stores that go on.
    stores: Option<Background<M::Storer>>,
}

/// Answers requests on the guest's own Linux until s2lab closes the link.
pub(crate) fn serve(root: &Root, link: &Link, incoming: Incoming<impl Read>) -> Result<(), LinkError> {
    serve_on(Linux::at(root.clone()), Some(Program::at(root.clone())), link, incoming)
}

/// Answers requests by means of `machine`, and of `program` if it runs programs, until s2lab closes the link.
pub(crate) fn serve_on(
    machine: impl Machine,
    program: Option<Program>,
    link: &Link,
    mut incoming: Incoming<impl Read>,
) -> Result<(), LinkError> {
    let mut guest = Guest { machine, program, stores: None };
    while let Some(frame) = incoming.next_frame()? {
        match frame.body {
            Body::Request { id, request } => link.reply(id, guest.dispatch(request))?,
            other => link.log(format!("ignored a frame that is no request: {other:?}"))?,
        }
    }
    Ok(())
}

impl<M: Machine> Guest<M> {
    fn dispatch(&mut self, request: Request) -> Result<Value, Failure> {
        let Request::Guest(request) = request else { return Err(fault::wrong_level(&request)) };
        let goes_on = matches!(request, GuestRequest::EndStores(_) | GuestRequest::Memslot(_));
        if self.stores.is_some() && !goes_on {
            return Err(fault::invalid("the guest stores"));
        }
        match request {
            GuestRequest::BeginStores(ask) => self.reply(ask),
            GuestRequest::Command(ask) => self.reply(ask),
            GuestRequest::EndStores(ask) => self.reply(ask),
            GuestRequest::Hold(ask) => self.reply(ask),
            GuestRequest::Load(ask) => self.reply(ask),
            GuestRequest::Memslot(ask) => self.reply(ask),
            GuestRequest::Plug(ask) => self.reply(ask),
            GuestRequest::Probe(ask) => self.reply(ask),
            GuestRequest::PutProgram(ask) => self.reply(InGuest(ask)),
            GuestRequest::Release(ask) => self.reply(ask),
            GuestRequest::RunProgram(ask) => self.reply(InGuest(ask)),
            GuestRequest::Store(ask) => self.reply(ask),
            GuestRequest::Transfer(ask) => self.reply(ask),
        }
    }
}

/// For tests of other modules: a folder with a BAR.
#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::bar::tests::{ADDRESS, BAR_SIZE, bar_file, fixture};
}
