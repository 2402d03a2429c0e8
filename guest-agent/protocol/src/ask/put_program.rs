//! The file of a program, on its way to an agent.

use super::{AnyLevel, GuestRequest, HostRequest};
use serde::{Deserialize, Serialize};

/// Appends a part to the file of the program. A part at offset 0 begins a new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutProgram {
    /// The number of bytes that the file has before.
    pub offset: u64,
    /// At most [`PutProgram::LONGEST`] bytes, hexadecimal.
    pub hex: String,
}

impl PutProgram {
    /// The most bytes of a part. A guest's link takes about 100 KiB at once.
    pub const LONGEST: usize = 32 * 1024;
    /// The most bytes of a program. A guest has it in its RAM.
    pub const LARGEST: u64 = 16 << 20;
}

impl AnyLevel for PutProgram {
    type Answer = ProgramPut;
    const DOING: &str = "put a program";

    fn of_host(self) -> HostRequest {
        HostRequest::PutProgram(self)
    }

    fn of_guest(self) -> GuestRequest {
        GuestRequest::PutProgram(self)
    }

    fn mismatch(&self, put: &ProgramPut) -> Option<&'static str> {
        let due = self.offset + self.hex.len() as u64 / 2;
        (put.size != due).then_some("the program has another size")
    }
}

/// The file has the part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramPut {
    /// Its size in bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_appended_whole() {
        let ask = PutProgram { offset: 8, hex: "00ff".into() };
        assert_eq!(ask.mismatch(&ProgramPut { size: 10 }), None);
        assert!(ask.mismatch(&ProgramPut { size: 9 }).is_some());
    }
}
