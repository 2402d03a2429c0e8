//! Programs of the user's: their files, and their way into a host or a guest.

use super::{session::Session, stages::Stop};
use crate::host::link::Patience;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use s2lab_protocol::ask::{AnyLevel, InGuest, InHost, ProgramEnd, PutProgram, RunProgram};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The files of programs by their SHA-256.
pub type Programs = BTreeMap<String, Arc<[u8]>>;

/// The place in which a program runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Host,
    Guest(&'a str),
}

impl<'a> Place<'a> {
    /// Returns the place of a guest, or of the host without one.
    pub(super) fn of(guest: Option<&'a str>) -> Self {
        guest.map_or(Place::Host, Place::Guest)
    }
}

impl Session<'_> {
    /// Puts a program into the host or a guest, and runs it there. Returns its end and its output.
    /// `request` is the deadline of each request, beside the time of the program.
    pub(super) async fn run_program(
        &mut self,
        place: Place<'_>,
        program: &[u8],
        run: RunProgram,
        request: Duration,
    ) -> Result<(ProgramEnd, Vec<u8>), Stop> {
        let mut offset = 0;
        for part in program.chunks(PutProgram::LONGEST) {
            let put = PutProgram { offset, hex: HEXLOWER.encode(part) };
            offset = self.ask_place(place, put, request.into()).await?.size;
        }
        let patience = request.saturating_add(Duration::from_millis(run.timeout_ms));
        let done = self.ask_place(place, run, patience.into()).await?;
        let output = HEXLOWER_PERMISSIVE.decode(done.hex.as_bytes());
        let output = output.map_err(|_| Stop::lab("the output of a program is not hexadecimal"))?;
        Ok((done.end, output))
    }

    async fn ask_place<T: AnyLevel>(
        &mut self,
        place: Place<'_>,
        ask: T,
        patience: Patience,
    ) -> Result<T::Answer, Stop> {
        match place {
            Place::Host => self.ask_host(InHost(ask), patience.whole).await,
            Place::Guest(name) => Ok(self.link.ask_guest(name, InGuest(ask), patience).await?),
        }
    }
}
