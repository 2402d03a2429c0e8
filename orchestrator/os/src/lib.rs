//! Small helpers between s2lab and the operating system, each with an error type of its own.

pub mod child;
pub mod clock;
pub mod limits;
pub mod lock;
pub mod machine;
pub mod outside;
pub mod private;
pub mod sealed;
pub mod size;
pub mod waits;
pub mod whole;
