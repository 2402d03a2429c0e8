//! A session: one boot of a host, which several cells may share.

use super::{Environment, Kernel, Surroundings};
use crate::event::Event;
use s2lab_protocol::TableMemory;

/// The facts that a host reported, and those that were seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    pub environment: Environment,
    /// The kind of the machine, see [`Event::Machine`].
    pub machine: Option<String>,
    /// The host's kernel, once it has come up.
    pub host: Option<Kernel>,
    /// The host's taint in its final record. None: there was no final record.
    pub final_taint: Option<Option<u64>>,
    /// The memory of secondary page tables, in the final record.
    pub tables: Option<TableMemory>,
    /// True if the host's console prints what its kernel logs.
    pub console_tested: bool,
    pub around: Surroundings,
    /// The host is no more.
    pub ended: bool,
}

impl Session {
    /// Applies an event; the error says what is wrong with its place in the log.
    pub(super) fn event(&mut self, event: Event) -> Result<(), &'static str> {
        if self.ended {
            return Err("has ended before");
        }
        match event {
            Event::SessionEnded => self.ended = true,
            Event::Environment { blocking, variable } => {
                self.environment.blocking.extend(blocking);
                self.environment.variable.extend(variable);
            }
            Event::Machine { kind } => {
                once(self.machine.replace(kind), "has a machine that was described twice")?;
            }
            Event::HostUp { release, page_size, taint } => {
                let up = self.host.replace(Kernel { release, page_size, taint });
                once(up, "has a host that came up twice")?;
            }
            Event::ConsoleTested => {
                if std::mem::replace(&mut self.console_tested, true) {
                    return Err("has a console that was tested twice");
                }
            }
            Event::HostDown { taint, tables } | Event::CellRecord { taint, tables } => {
                self.tables = tables;
                once(self.final_taint.replace(taint), "has a host that went down twice")?;
            }
            around => self.around.event(around)?,
        }
        Ok(())
    }

    /// Ends the host now, without anything new in its final record.
    pub(crate) fn end(&mut self) {
        let taint = self.host.as_ref().and_then(|host| host.taint);
        self.final_taint.get_or_insert(taint);
    }
}

impl Surroundings {
    fn event(&mut self, event: Event) -> Result<(), &'static str> {
        match event {
            Event::HostRam { start, size } => {
                let end = start.checked_add(size).ok_or("has RAM beyond the address space")?;
                self.ram.push(start..end);
            }
            Event::HostLoaded(loaded) => {
                if self.loaded.iter().any(|known| known.part == loaded.part) {
                    return Err("has something that was loaded twice");
                }
                self.loaded.push(loaded);
            }
            Event::HostMemory(memory) => {
                once(self.memory.replace(memory), "has a host that described its memory twice")?;
            }
            Event::DeviceBound(bound) => {
                let before = self.devices.insert(bound.device.clone(), bound);
                once(before, "has a device that was bound twice")?;
            }
            Event::BarPlaced { device, bar } => {
                let placed = self.placed.entry(device).or_default();
                let known = placed.iter().find(|known| known.index == bar.index).copied();
                once(known, "has a BAR that was placed twice")?;
                placed.push(bar);
            }
            _ => return Err("has an event that is none of a session"),
        }
        Ok(())
    }
}

pub(super) fn once<T>(before: Option<T>, why: &'static str) -> Result<(), &'static str> {
    if before.is_some() { Err(why) } else { Ok(()) }
}
