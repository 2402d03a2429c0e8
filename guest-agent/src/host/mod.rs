//! The agent in the host (L1): binds devices, runs guests, passes their frames on.

mod bind;
mod console;
mod memory;
mod qmp;
mod reset;
mod router;
mod smaps;
mod ssh;
mod vmm;
mod watch;

use crate::agent::Agent;
use crate::exit::fatal;
use crate::fault;
use crate::link::{Incoming, LinkError};
use crate::pci::Address;
use crate::port::Port;
use router::Downlinks;
use s2lab_protocol::{Body, Failure, Frame, GuestSpec, Peer, Reply, Request};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use vmm::Vmm;

/// Requests that may wait while one is answered. s2lab waits for answers, so that one or two are usual.
const QUEUE: usize = 64;
/// What the VMAs of an assigned device are called: `anon_inode:[vfio-device]`.
const DEVICE_VMA: &str = "vfio";

/// What the host keeps between requests.
struct Host<'a> {
    agent: &'a Agent,
    downlinks: Arc<Downlinks>,
    guests: BTreeMap<String, Guest>,
}

struct Guest {
    vmm: Vmm,
    spec: GuestSpec,
}

/// Answers requests until [`Request::Finish`]; passes frames to guests meanwhile.
pub(crate) fn serve(agent: Agent, incoming: Incoming<Port>) -> Result<(), LinkError> {
    let (queue, requests) = sync_channel(QUEUE);
    let downlinks = Arc::new(Downlinks::default());
    let mut reader =
        Reader { incoming, queue, downlinks: Arc::clone(&downlinks), link: Arc::clone(&agent.link) };
    let started = std::thread::Builder::new().spawn(move || match reader.run() {
        Ok(()) => fatal("s2lab closed the link"),
        Err(why) => fatal(why),
    });
    started.map_err(|why| LinkError::Stream { doing: "starting the reader of", why })?;
    ssh::start(&agent.root, &agent.link)?;
    Host { agent: &agent, downlinks, guests: BTreeMap::new() }.answer_all(&requests)
}

/// Sorts what s2lab sends: requests to the host into the queue, frames to guests on their way.
struct Reader {
    incoming: Incoming<Port>,
    queue: SyncSender<(u64, Request)>,
    downlinks: Arc<Downlinks>,
    link: Arc<crate::link::Link>,
}

impl Reader {
    fn run(&mut self) -> Result<(), LinkError> {
        while let Some(frame) = self.incoming.next_frame()? {
            match frame {
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
        while let Ok((id, request)) = requests.recv() {
            if request == Request::Finish {
                for (name, guest) in std::mem::take(&mut self.guests) {
                    if let Err(why) = guest.vmm.stop() {
                        self.agent.link.log(format!("guest {name}: {}", why.message))?;
                    }
                }
                return self.agent.finish(id);
            }
            let result = self.answer(request);
            self.agent.link.reply(id, result)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Failure> {
        let root = &self.agent.root;
        match request {
            Request::Bind { device, port, driver } => {
                bind::bind(root, &device, &port, &driver, &self.agent.failed_modules).map(Reply::Bound)
            }
            Request::Memory => {
                let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
                memory::host_memory(root, page_size).map(Reply::Memory)
            }
            Request::StartGuest(spec) => self.start(spec),
            Request::VmaFlags { guest } => {
                let pid = self.running(&guest)?.vmm.pid();
                let file = format!("proc/{pid}/smaps");
                let failed = |why: &dyn std::fmt::Display| fault::system("read", &file, why);
                let smaps = std::fs::File::open(root.path(&file)).map_err(|why| failed(&why))?;
                let vmas = smaps::vmas(BufReader::new(smaps), DEVICE_VMA).map_err(|why| failed(&why))?;
                Ok(Reply::VmaFlags { vmas })
            }
            Request::Reset { guest, device } => {
                let Guest { vmm, spec } = self.running(&guest)?;
                let assigned = spec.devices.iter().find(|assigned| assigned.device == device);
                let assigned = assigned
                    .ok_or_else(|| fault::invalid(format_args!("guest {guest} has no device {device:?}")))?;
                let address = Address::parse(&assigned.host_address)?;
                reset::reset(root, vmm.pid(), &address).map(|method| Reply::ResetDone { method })
            }
            Request::StopGuest { guest } => {
                let stopped = self.guests.remove(&guest);
                self.downlinks.remove(&guest);
                stopped.ok_or_else(|| no_guest(&guest))?.vmm.stop()?;
                Ok(Reply::GuestStopped)
            }
            Request::Store(_) => Err(fault::unsupported("store", "host")),
            Request::Hold { .. } => Err(fault::unsupported("hold", "host")),
            Request::Release => Err(fault::unsupported("release", "host")),
            Request::Unaligned { .. } => Err(fault::unsupported("unaligned", "host")),
            Request::Finish => Err(fault::invalid("finish ends the agent's loop")),
        }
    }

    fn start(&mut self, spec: GuestSpec) -> Result<Reply, Failure> {
        if self.guests.get(&spec.name).is_some_and(|guest| !guest.vmm.has_ended()) {
            return Err(fault::invalid(format_args!("guest {} runs already", spec.name)));
        }
        let (vmm, version, downlink) =
            Vmm::start(&self.agent.root, &spec, self.agent.nonce, &self.agent.link)?;
        let pid = vmm.pid();
        self.downlinks.insert(&spec.name, downlink);
        self.guests.insert(spec.name.clone(), Guest { vmm, spec });
        Ok(Reply::GuestStarted { pid, vmm: version })
    }

    fn running(&self, name: &str) -> Result<&Guest, Failure> {
        self.guests.get(name).filter(|guest| !guest.vmm.has_ended()).ok_or_else(|| no_guest(name))
    }
}

fn no_guest(name: &str) -> Failure {
    fault::invalid(format_args!("there is no guest {name:?} that runs"))
}
