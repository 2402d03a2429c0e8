//! Objects of the cache: folders that appear whole, their manifests, and what is in the cache.

pub(crate) mod checked;
pub(crate) mod damage;
pub mod digest;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod hosts;
pub(crate) mod inventory;
pub(crate) mod lock;
pub(crate) mod manifest;
pub(crate) mod object;
