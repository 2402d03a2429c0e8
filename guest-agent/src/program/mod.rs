//! A program of the user's: its file comes in parts, and then it runs, once. Host and guest do the
//! same.

mod process;

use crate::root::Root;
use crate::{fault, hex};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{ProgramEnd, ProgramPut, ProgramRun, PutProgram, RunProgram};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The file, which grows part by part.
const FILE: &str = "run/s2lab-program";
/// The folder in which the program runs.
const FOLDER: &str = "run/s2lab-work";
/// Its environment, beside `HOME`, which is its folder.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("TERM", "dumb"), ("TMPDIR", "/tmp")];

/// The program of a level.
#[derive(Debug)]
pub(crate) struct Program {
    root: Root,
    size: u64,
}

impl Program {
    pub(crate) fn at(root: Root) -> Program {
        Program { root, size: 0 }
    }

    /// Appends a part to the file.
    pub(crate) fn put(&mut self, PutProgram { offset, hex }: &PutProgram) -> Result<ProgramPut, Failure> {
        let part =
            hex::decode(hex).ok_or_else(|| fault::invalid("a part of a program is not hexadecimal"))?;
        if part.len() > PutProgram::LONGEST || offset + part.len() as u64 > PutProgram::LARGEST {
            return Err(fault::invalid("a part of a program is too long"));
        }
        let path = self.root.path(FILE);
        let written = self.begun(*offset, &path)?.and_then(|mut file| file.write_all(&part));
        written.map_err(|why| fault::system("write", path.display(), why))?;
        self.size = offset + part.len() as u64;
        Ok(ProgramPut { size: self.size })
    }

    /// Opens the file at its end; a new one at offset 0.
    fn begun(&mut self, offset: u64, path: &PathBuf) -> Result<io::Result<File>, Failure> {
        if offset == 0 {
            // There is none at the first time.
            let _ = fs::remove_file(path);
            self.size = 0;
        }
        if offset != self.size {
            let message = format!("a part of a program is at {offset}, and {} is due", self.size);
            return Err(fault::invalid(message));
        }
        let mut options = OpenOptions::new();
        Ok(options.append(true).create_new(offset == 0).mode(0o700).open(path))
    }

    /// Runs the program. Its file and its folder are removed.
    pub(crate) fn run(&mut self, ask: &RunProgram) -> Result<ProgramRun, Failure> {
        let RunProgram { name, args, timeout_ms } = ask;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(fault::invalid(format_args!("{name:?} is not the name of a file")));
        }
        let folder = self.root.path(FOLDER);
        self.place(&folder, name).map_err(|why| fault::system("place", name, why))?;
        self.size = 0;
        let path = folder.join(name);
        let mut command = Command::new(&path);
        command.args(args).env_clear().envs(ENVIRONMENT).env("HOME", &folder).current_dir(&folder);
        let run = process::run(command, Duration::from_millis(*timeout_ms));
        // A process of it that has left its group may still be there.
        let _ = fs::remove_dir_all(&folder);
        let (end, output) = run.map_err(|why| fault::system("run", name, why))?;
        Ok(ProgramRun { end, hex: hex::encode(&output) })
    }

    /// Moves the file into a new folder.
    fn place(&self, folder: &PathBuf, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => fs::create_dir(folder)?,
        }
        let path = folder.join(name);
        fs::rename(self.root.path(FILE), &path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))
    }
}

#[cfg(test)]
mod tests;
