//! Builds from source: kernels, the agent, the plugin and the judge, with their trees, patches and tools.

pub(crate) mod agent;
pub(crate) mod build;
pub(crate) mod build_folder;
pub(crate) mod cargo;
pub(crate) mod config;
pub(crate) mod git_tree;
pub(crate) mod judge;
pub(crate) mod kept;
pub(crate) mod kernel_config;
pub(crate) mod kernel_tools;
pub(crate) mod make;
pub(crate) mod memory_module;
pub(crate) mod patches;
pub(crate) mod plugin;
pub(crate) mod rustc;
pub(crate) mod selftests;
pub(crate) mod source;
pub(crate) mod toolchain;
