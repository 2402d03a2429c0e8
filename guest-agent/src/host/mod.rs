//! The agent in the host (L1): a file for each request that it answers; it passes the guests'
//! frames on.

mod attach;
mod bind;
mod console;
mod daemons;
mod device;
mod devices;
mod dump;
mod end_cell;
mod faults;
mod function;
mod interface;
pub(crate) mod look;
pub(crate) mod memory;
mod platform;
mod program;
mod reset;
mod resume;
mod router;
mod ssh;
mod start_guest;
mod stop_guest;
mod tables;
mod vma_flags;
mod vmm;

use crate::agent::{Agent, Answers};
use crate::exit::fatal;
use crate::fault;
use crate::link::{Incoming, LinkError, in_json};
use crate::port::Port;
use crate::program::Program;
use crate::root::Root;
use devices::Devices;
use faults::FaultTrace;
use interface::Interface;
use look::Looks;
use router::Downlinks;
use s2lab_protocol::ask::{HostRequest, InHost, Request, Resume, StartGuest};
use s2lab_protocol::{Body, Failure, Frame, Peer, TableMemory};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use vmm::Vmm;

/// The requests that may wait while one is answered. s2lab waits for answers, so one or two are
/// usual.
const QUEUE: usize = 64;

/// The state of the host between requests.
struct Host<'a> {
    agent: &'a Agent,
    downlinks: Arc<Downlinks>,
    guests: BTreeMap<String, Guest>,
    devices: Devices,
    /// The interfaces of the devices of which guests have virtual functions.
    interfaces: BTreeMap<String, Interface>,
    /// The trace of stage-2 faults, since before the first guest, or the reason why there is none.
    trace: Option<Result<FaultTrace, String>>,
    /// The question about the host's memory, until s2lab has asked it.
    memory: Option<memory::Asked>,
    program: Program,
    /// The program of the user's that has run in this host: it may have changed anything.
    ran: Option<String>,
    /// The memory of the secondary page tables before the cell's first guest, in KiB.
    tables: Option<u64>,
}

struct Guest {
    vmm: Vmm,
    spec: StartGuest,
}

/// Answers requests until [`s2lab_protocol::ask::Finish`]; passes frames to guests meanwhile.
pub(crate) fn serve(
    agent: Agent,
    incoming: Incoming<Port>,
    memory: Option<memory::Asked>,
) -> Result<(), LinkError> {
    daemons::wait(&agent.root);
    let (queue, requests) = sync_channel(QUEUE);
    let downlinks = Arc::new(Downlinks::default());
    let looks = Looks::start(&agent.root, &agent.link)?;
    let (root, link) = (agent.root.clone(), Arc::clone(&agent.link));
    let mut reader = Reader { incoming, queue, downlinks: Arc::clone(&downlinks), looks, root, link };
    let started = std::thread::Builder::new().spawn(move || match reader.run() {
        Ok(()) => fatal("s2lab closed the link"),
        Err(why) => fatal(why),
    });
    started.map_err(|why| LinkError::Stream { doing: "starting the reader of", why })?;
    ssh::start(&agent.root, &agent.link)?;
    let (guests, devices, interfaces) = (BTreeMap::new(), Devices::default(), BTreeMap::new());
    let program = Program::at(agent.root.clone());
    let (trace, ran, tables) = (None, None, None);
    Host { agent: &agent, downlinks, guests, devices, interfaces, trace, memory, program, ran, tables }
        .answer_all(&requests)
}

/// A thread that sorts s2lab's frames: requests to the host go into the queue, frames to guests to
/// their links, tables to the person who waits for them.
struct Reader {
    incoming: Incoming<Port>,
    queue: SyncSender<(u64, Request)>,
    downlinks: Arc<Downlinks>,
    looks: Looks,
    root: Root,
    link: Arc<crate::link::Link>,
}

impl Reader {
    fn run(&mut self) -> Result<(), LinkError> {
        while let Some(frame) = self.incoming.next_frame()? {
            match frame {
                // Not behind a request that takes long: the person may want to know about that.
                Frame {
                    to: Peer::Host,
                    body: Body::Request { id, request: Request::Host(HostRequest::ShowTables(part)) },
                    ..
                } => self.link.reply(id, self.looks.show(&part).and_then(|()| in_json(&())))?,
                Frame {
                    to: Peer::Host,
                    body: Body::Request { id, request: Request::Host(HostRequest::Resume(Resume { nonce })) },
                    ..
                } => self.resume(id, nonce)?,
                Frame { to: Peer::Host, body: Body::Request { id, request }, .. } => {
                    if self.queue.try_send((id, request)).is_err() {
                        let why = fault::invalid(format_args!("{QUEUE} requests wait already"));
                        self.link.reply(id, Err(why))?;
                    }
                }
                Frame { to: Peer::Guest(ref name), ref body, .. } => {
                    if let Err(why) = self.downlinks.send(name, &frame) {
                        match body {
                            Body::Request { id, .. } => self.link.reply(*id, Err(why))?,
                            _ => self.link.log(why.message)?,
                        }
                    }
                }
                Frame { to, .. } => {
                    self.link.log(format!("ignored a frame to {to} that is no request to the host"))?
                }
            }
        }
        Ok(())
    }
}

impl Host<'_> {
    fn answer_all(&mut self, requests: &Receiver<(u64, Request)>) -> Result<(), LinkError> {
        let link = Arc::clone(&self.agent.link);
        while let Ok((id, request)) = requests.recv() {
            let result = match request {
                Request::Host(HostRequest::Finish(_)) => return self.finish(id),
                Request::Host(HostRequest::EndCell(ask)) => {
                    link.busy(|| self.end_cell(id, &ask))?;
                    continue;
                }
                Request::Host(request) => link.busy(|| self.dispatch(request)),
                Request::Guest(_) => Err(fault::wrong_level(&request)),
            };
            link.reply(id, result)?;
        }
        Ok(())
    }

    fn dispatch(&mut self, request: HostRequest) -> Result<Value, Failure> {
        match request {
            HostRequest::Attach(ask) => self.reply(ask),
            HostRequest::Bind(ask) => self.reply(ask),
            HostRequest::Device(ask) => self.reply(ask),
            HostRequest::Dump(ask) => self.reply(ask),
            HostRequest::EndCell(_) => Err(fault::invalid("a cell ends in the agent's loop")),
            HostRequest::Faults(ask) => self.reply(ask),
            HostRequest::Finish(_) => Err(fault::invalid("finish ends the agent's loop")),
            HostRequest::Frames(ask) => self.reply(ask),
            HostRequest::Memory(ask) => self.reply(ask),
            HostRequest::PutProgram(ask) => self.reply(InHost(ask)),
            HostRequest::Reset(ask) => self.reply(ask),
            HostRequest::Resume(_) => Err(fault::invalid("a host is resumed by the agent's reader")),
            HostRequest::RunProgram(ask) => self.reply(InHost(ask)),
            HostRequest::ShowTables(_) => Err(fault::invalid("tables are passed on by the agent's reader")),
            HostRequest::StartGuest(ask) => self.reply(ask),
            HostRequest::StopGuest(ask) => self.reply(ask),
            HostRequest::VmaFlags(ask) => self.reply(ask),
        }
    }

    /// Ends the guests that are left, then the host.
    fn finish(&mut self, id: u64) -> Result<(), LinkError> {
        Arc::clone(&self.agent.link).busy(|| self.end_guests())?;
        let tables = self.freed();
        self.agent.finish(id, tables)
    }

    /// Ends the guests that are left.
    fn end_guests(&mut self) -> Result<(), LinkError> {
        for (name, guest) in std::mem::take(&mut self.guests) {
            self.downlinks.remove(&name);
            if let Err(why) = guest.vmm.stop() {
                self.agent.link.log(format!("guest {name}: {}", why.message))?;
            }
        }
        Ok(())
    }

    /// Returns the account of the tables of guests that have all ended, and begins a new one.
    fn freed(&mut self) -> Option<TableMemory> {
        self.tables.take().and_then(|before| tables::freed(&self.agent.root, before))
    }

    fn running(&self, name: &str) -> Result<&Guest, Failure> {
        self.guests.get(name).filter(|guest| !guest.vmm.has_ended()).ok_or_else(|| no_guest(name))
    }
}

fn no_guest(name: &str) -> Failure {
    fault::invalid(format_args!("there is no guest {name:?} that runs"))
}
