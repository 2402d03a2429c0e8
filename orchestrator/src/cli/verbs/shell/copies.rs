//! The files of `s2lab shell --copy`, read before anything boots.

use crate::cli::failure::Failure;
use crate::home;
use crate::run::errand::HostFile;
use s2lab_os::outside::{self, kinds};
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// The bits of a file's mode that it keeps: those of chmod(1) without set-user-ID and the like.
const MODE: u32 = 0o777;

/// Returns the file of an argument `FILE` or `FILE:PATH`.
pub(super) fn read(argument: &str) -> Result<HostFile, Failure> {
    let refused = |why: &str, hint: &str| Failure::Usage {
        message: format!("--copy {argument}: {why}"),
        hint: Some(hint.to_owned()),
    };
    let (file, to) = parts(argument);
    let file = home::expand(file);
    let bytes = outside::read(&file, kinds::COPY)
        .map_err(|error| refused(&error.why.to_string(), "FILE, or FILE:PATH with the path in the host"))?;
    let meta = std::fs::metadata(&file)
        .map_err(|error| refused(&error.to_string(), "FILE, or FILE:PATH with the path in the host"))?;
    let name = file.file_name().and_then(|name| name.to_str());
    let path = match (to, name) {
        (Some(to), Some(name)) if to.ends_with('/') => format!("{to}{name}"),
        (Some(to), _) if !to.ends_with('/') => to.to_owned(),
        (None, Some(name)) => name.to_owned(),
        _ => return Err(refused("its name is not UTF-8", "name the path in the host: FILE:PATH")),
    };
    Ok(HostFile { path, bytes, mode: meta.permissions().mode() & MODE })
}

/// Returns the two parts of `FILE:PATH`. A file whose name has a colon is taken as it is.
fn parts(argument: &str) -> (&str, Option<&str>) {
    match argument.rsplit_once(':') {
        Some((file, to)) if !file.is_empty() && !to.is_empty() && !Path::new(argument).exists() => {
            (file, Some(to))
        }
        _ => (argument, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_file_keeps_its_name_and_its_executable_bit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("repro");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o4750)).unwrap();
        let text = file.to_str().unwrap();
        for (argument, path) in [
            (text.to_owned(), "repro"),
            (format!("{text}:/tmp/x"), "/tmp/x"),
            (format!("{text}:/tmp/"), "/tmp/repro"),
            (format!("{text}:x"), "x"),
        ] {
            let read = read(&argument).unwrap();
            assert_eq!((read.path.as_str(), read.mode, &read.bytes[..]), (path, 0o750, &b"x"[..]));
        }
        let odd = folder.path().join("a:b");
        fs::write(&odd, "y").unwrap();
        assert_eq!(read(odd.to_str().unwrap()).unwrap().path, "a:b");
        let folder = folder.path().to_str().unwrap();
        for argument in [folder, "", "nowhere", &format!("{folder}:x")] {
            let Err(Failure::Usage { message, .. }) = read(argument) else { panic!("{argument}") };
            assert!(message.starts_with(&format!("--copy {argument}: ")), "{message}");
        }
    }
}
