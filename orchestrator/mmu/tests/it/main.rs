//! Tests of the public API. The tables they walk are built by `builder`, which shares no code with
//! the crate.

#[cfg(test)]
mod builder;
#[cfg(test)]
mod combining;
#[cfg(test)]
mod contiguous;
#[cfg(test)]
mod controls;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mappings;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod stage1;
#[cfg(test)]
mod tlbi;
