//! Makes the files that the program carries besides its code: the lab folder that ships, and the
//! source of the agent, of QEMU's plugin and of the judge.

mod files;
mod programs;
mod reports;

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

/// The parts of the lab folder that ships.
const LAB: [&str; 3] = ["images", "reports", "scenarios"];

fn main() -> Result<(), Box<dyn Error>> {
    let checkout = fs::canonicalize(files::CHECKOUT)?;
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let mut lab = vec![];
    for part in LAB {
        files::below(&checkout, part, &mut lab)?;
    }
    let defaults = reports::defaults(&fs::read_to_string(checkout.join("images/kernels.yaml"))?)?;
    lab.retain(|file| reports::is_carried(&file.path, &defaults, &checkout));
    let mut tables = String::new();
    table(&mut tables, "LAB", &lab)?;
    table(&mut tables, "AGENT", &programs::source(&programs::AGENT, &checkout, out)?)?;
    table(&mut tables, "PLUGIN", &programs::source(&programs::PLUGIN, &checkout, out)?)?;
    table(&mut tables, "JUDGE", &programs::source(&programs::JUDGE, &checkout, out)?)?;
    fs::write(out.join("carried.rs"), tables)?;
    Ok(())
}

/// Writes a table of the files as Rust source.
fn table(out: &mut String, name: &str, files: &[files::File]) -> Result<(), Box<dyn Error>> {
    writeln!(out, "pub static {name}: &[File] = &[")?;
    for files::File { path, from } in files {
        let from = from.to_str().ok_or("the checkout's path is not UTF-8")?;
        writeln!(out, "    File {{ path: {path:?}, bytes: include_bytes!({from:?}) }},")?;
    }
    writeln!(out, "];")?;
    Ok(())
}
