//! Sets the program's version, with the commit.

mod version;

fn main() {
    version::set();
}
