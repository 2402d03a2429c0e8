//! The requests that the host answers.

use super::{Answer, Guest, Host, answer, index, invalid};
use crate::{Error, memory, script::Moment, tables, wire::Side};
use s2lab_protocol::{
    AssignKind, Bar, Body, BoundDevice, GuestEnd, Level, MODULE_DEVICE, Notice, Peer, Vma,
    ask::{
        Attach, Bind, CellRecord, Device, DeviceDone, Dump, Dumped, EndCell, Faulted, Faults, FinalRecord,
        Finish, Frames, GuestStarted, HostRequest, Memory, Pages, Reset, ResetDone, Resume, ShowTables,
        StartGuest, StopGuest, TableMemory, Transferred, VmaFlags,
    },
    cell_line,
};

/// Bytes of the BAR of a virtual function.
pub(crate) const FUNCTION: u64 = 16 << 10;

impl Host {
    pub(super) fn of_host(&mut self, request: HostRequest) -> Result<Answer, Error> {
        Ok(match request {
            HostRequest::Attach(_) => answer::<Attach>(&()),
            HostRequest::Bind(ask) => match self.is_clear(&ask.device)? {
                true => answer::<Bind>(&self.bound(&ask)),
                false => Err(invalid("the BAR has bytes of an earlier cell")),
            },
            HostRequest::Device(ask) => self.operate(&ask)?,
            HostRequest::EndCell(EndCell { nonce, .. }) => answer::<EndCell>(&self.end_cell(nonce)),
            HostRequest::Finish(_) => {
                let taint = self.taint(Level::Host);
                answer::<Finish>(&FinalRecord { answered: self.answered, taint, tables: None })
            }
            HostRequest::Dump(ask) => answer::<Dump>(&self.dumped(&ask.guest)),
            HostRequest::Faults(ask) => answer::<Faults>(&self.faults(&ask.guest)),
            HostRequest::Frames(ask) => self.frames(&ask),
            HostRequest::Memory(_) => {
                answer::<Memory>(&memory::host_memory(!self.sender.machine.lock().host.is_empty()))
            }
            HostRequest::PutProgram(ask) => self.program.put(&ask),
            HostRequest::Reset(ask) => self.reset(&ask)?,
            HostRequest::Resume(ask) => {
                self.begin_anew(ask.nonce)?;
                answer::<Resume>(&())
            }
            HostRequest::RunProgram(ask) => {
                self.sender.machine.lock().unclean = Some(format!("the program {} has run in it", ask.name));
                self.program.run(&ask)
            }
            HostRequest::ShowTables(ask) => self.show(&ask)?,
            HostRequest::StartGuest(ask) => {
                self.sender.begin_guest(&ask.name, ask.nonce);
                if let Some(agents) = &mut self.sender.machine.lock().agents {
                    agents.guests.push(ask.clone());
                }
                self.guests.insert(ask.name.clone(), Guest::new(&ask, self.guests.len() as u64));
                answer::<StartGuest>(&GuestStarted { pid: 100, vmm: "qemu 10.0.2".into() })
            }
            HostRequest::StopGuest(ask) => self.stop(&ask)?,
            HostRequest::VmaFlags(ask) => answer::<VmaFlags>(&self.vmas(&ask.guest)),
        })
    }

    /// Releases everything of the cell.
    fn end_cell(&mut self, nonce: u64) -> CellRecord {
        let guests = std::mem::take(&mut self.guests);
        self.sender.machine.log(&cell_line(nonce));
        let leaked = std::mem::take(&mut self.sender.machine.lock().leaked);
        let tables = (!guests.is_empty()).then_some(TableMemory { before: 12, after: 12 + leaked });
        let taint = self.taint(Level::Host);
        let unclean = self.sender.machine.lock().unclean.take();
        CellRecord { nonce, answered: self.answered, taint, tables, unclean }
    }

    /// Returns KVM's own account of a guest's BARs, in the form of Linux 7.2.
    fn dumped(&self, guest: &str) -> Dumped {
        let machine = &self.sender.machine;
        let touched = self.guests.get(guest).map(|guest| &guest.touched);
        let ranges = touched.into_iter().flatten().map(|device| {
            let size = machine.bars.get(device).map_or(0, |bar| bar.size);
            tables::dumped(index(machine, device), size, machine.bar_leaf())
        });
        Dumped::Ranges(ranges.collect())
    }

    /// Takes the faults of a guest from the trace.
    fn faults(&mut self, guest: &str) -> Faulted {
        let faulted = self.guests.get_mut(guest).map(|guest| std::mem::take(&mut guest.faulted));
        Faulted { runs: Pages::runs(faulted.unwrap_or_default()), incomplete: None }
    }

    /// Exchanges frames with the guest that has a virtual function.
    fn frames(&self, Frames { direction, bytes, seed, .. }: &Frames) -> Answer {
        let mut state = self.sender.machine.lock();
        let first_difference = state.wire.exchange(Side::Host, *direction, *bytes, *seed);
        answer::<Frames>(&Transferred { direction: *direction, bytes: *bytes, first_difference })
    }

    fn reset(&mut self, Reset { guest, device }: &Reset) -> Result<Answer, Error> {
        if let Some(guest) = self.guests.get_mut(guest) {
            guest.remove(&self.sender.machine, device)?;
        }
        Ok(answer::<Reset>(&ResetDone { method: "bus".into() }))
    }

    fn operate(&mut self, Device { guest, device, operation }: &Device) -> Result<Answer, Error> {
        if let Some(guest) = self.guests.get_mut(guest).filter(|_| operation.removes()) {
            guest.remove(&self.sender.machine, device)?;
        }
        Ok(answer::<Device>(&DeviceDone { operation: *operation }))
    }

    /// The console has what a person would read.
    fn show(&self, ShowTables { id, text, end }: &ShowTables) -> Result<Answer, Error> {
        let mut lines: Vec<_> = text.lines().map(|line| format!("look {id}: {line}\r\n")).collect();
        lines.extend(end.map(|end| format!("look {id}: {end:?}\r\n")));
        self.sender.machine.print(lines.concat().as_bytes());
        if end.is_some() {
            self.sender.prepare(&Moment::LookShown, &Peer::Host)?;
        }
        Ok(answer::<ShowTables>(&()))
    }

    fn stop(&mut self, StopGuest { guest }: &StopGuest) -> Result<Answer, Error> {
        let Some(ended) = self.guests.get(guest).map(|guest| guest.ended) else {
            return Ok(Err(invalid(format!("no guest {guest}"))));
        };
        if !ended {
            let how = GuestEnd::Exited { code: Some(0), signal: None, detail: String::new() };
            let notice = Notice::GuestEnded { guest: guest.clone(), how };
            self.sender.send(&Peer::Host, Body::Notice(notice))?;
        }
        Ok(answer::<StopGuest>(&()))
    }

    /// Returns true if the first bytes of a BAR are zero, as in a fresh boot. A device that was plugged has those
    /// of before.
    fn is_clear(&self, device: &str) -> Result<bool, Error> {
        let machine = &self.sender.machine;
        let is_plugged = machine.lock().plugged.contains(device);
        let Some(bar) = machine.bars.get(device).filter(|_| !is_plugged) else { return Ok(true) };
        Ok((0..16)
            .map(|offset| bar.byte(offset))
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .all(|byte| *byte == 0))
    }

    fn bound(&self, Bind { device, kind, .. }: &Bind) -> BoundDevice {
        let machine = &self.sender.machine;
        let index = index(machine, device);
        let registers = Bar { index: 0, start: 0x1000_0000, size: 256, prefetchable: false };
        let bar = machine.bars.get(device).map(|bar| Bar {
            index: 2,
            start: tables::bar_pa(index),
            size: bar.size,
            prefetchable: true,
        });
        if *kind == AssignKind::VirtualFunction {
            let bar = Bar { index: 0, start: tables::bar_pa(index), size: FUNCTION, prefetchable: true };
            return BoundDevice {
                device: device.clone(),
                address: format!("0000:{:02x}:10.0", index + 1),
                vendor: 0x8086,
                id: 0x10ca,
                driver: AssignKind::VfioPci.name().into(),
                iommu_group: Some(index as u32),
                bars: vec![bar],
            };
        }
        BoundDevice {
            device: device.clone(),
            address: format!("0000:{:02x}:00.0", index + 1),
            vendor: 0x1af4,
            id: 0x1110,
            driver: if *kind == AssignKind::VfioPci { kind.name() } else { "" }.into(),
            iommu_group: Some(index as u32),
            bars: [registers].into_iter().chain(bar).collect(),
        }
    }

    fn vmas(&self, guest: &str) -> Vec<Vma> {
        const FLAGS: [&str; 12] = ["rd", "wr", "sh", "mr", "mw", "me", "ms", "pf", "io", "dc", "de", "dd"];
        let machine = &self.sender.machine;
        let other_flags = machine.lock().other_flags;
        let module = |device: &String| self.guests.get(guest)?.vmas.get(device).copied();
        let devices = self.guests.get(guest).into_iter().flat_map(|guest| guest.devices.values());
        let size = |device: &String| machine.bars.get(device).map_or(FUNCTION, |bar| bar.size);
        let vma = |(n, device): (u64, &String)| {
            let (flagged, offset, name) = match module(device) {
                Some(vma) => {
                    let place = tables::bar_pa(index(machine, device));
                    (vma.marked, place, format!("/dev/{MODULE_DEVICE}"))
                }
                // VFIO's region 2, or region 0 of a virtual function.
                None if !machine.bars.contains_key(device) => {
                    (machine.series, 0, "anon_inode:[vfio-device]".to_owned())
                }
                None => (machine.series, 2 << 40, "anon_inode:[vfio-device]".to_owned()),
            };
            let mark = (flagged != other_flags).then_some("??");
            let flags = FLAGS.into_iter().chain(mark).map(str::to_owned).collect();
            Vma { start: tables::vmm_va(n), end: tables::vmm_va(n) + size(device), offset, name, flags }
        };
        let unplugged = machine.lock().unplugged.clone();
        (0..).zip(devices).filter(|(_, device)| !unplugged.contains(*device)).map(vma).collect()
    }
}
