//! Programs of the user's, which are not run: there is no CPU.

use super::{Answer, answer, invalid};
use data_encoding::HEXLOWER;
use s2lab_protocol::ask::{InHost, ProgramEnd, ProgramPut, ProgramRun, PutProgram, RunProgram};

/// The output of every program.
const OUTPUT: &[u8] = b"TAP version 13\n1..1\nok 1 works\n";
/// The begin of the names of VFIO's selftests, which need the address of a device as their last argument (Linux 6.18
/// tools/testing/selftests/vfio/lib/libvfio.c, vfio_selftests_get_bdfs). Without one they end with the code of a skip.
const OF_VFIO: &str = "vfio_";
const SKIPPED: i32 = 4;

/// The program of the host or of a guest.
#[derive(Default)]
pub(super) struct Program {
    size: u64,
}

impl Program {
    pub(super) fn put(&mut self, PutProgram { offset, hex }: &PutProgram) -> Answer {
        if *offset != 0 && *offset != self.size {
            return Err(invalid(format!("{} is due", self.size)));
        }
        self.size = offset + hex.len() as u64 / 2;
        answer::<InHost<PutProgram>>(&ProgramPut { size: self.size })
    }

    pub(super) fn run(&mut self, ask: &RunProgram) -> Answer {
        if std::mem::take(&mut self.size) == 0 {
            return Err(invalid("there is no program"));
        }
        let has_address = || ask.args.last().is_some_and(|last| last.ends_with(":00.0"));
        let (code, output) = match ask.name.starts_with(OF_VFIO) && !has_address() {
            true => (SKIPPED, &b""[..]),
            false => (0, OUTPUT),
        };
        answer::<InHost<RunProgram>>(&ProgramRun {
            end: ProgramEnd::Exit(code),
            hex: HEXLOWER.encode(output),
        })
    }
}
