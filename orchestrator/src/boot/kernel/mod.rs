//! A kernel's way to a host, in three stages: named in a plan, resolved to a request to the cache,
//! ready as files.

pub mod given;
pub mod guests;
pub mod identity;
pub mod memory_module;
pub mod named;
pub mod needs;
pub mod ready;
pub mod resolved;
pub mod selftests;
