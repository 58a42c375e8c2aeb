//! How devices of CubeCL keep memory for reuse.

use cubecl::config::memory::PersistentMemory;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Has tensors of a weight's size take memory of exactly that size, where a program or a `cubecl.toml` says nothing else.
///
/// CubeCL carves small tensors out of shared pages, and for each new one walks through and rebuilds the list of a page's
/// parts. A training step has a few thousand small tensors alive (gradients, statistics, what is kept for the backward
/// pass), so that this is most of what the thread that launches kernels does. Nearly all of them have the size of some
/// weight. A program that sets CubeCL's configuration itself, before its first device, keeps it.
pub(super) fn prefer_sizes() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    if matches!(config.memory.persistent_memory, PersistentMemory::Enabled) {
        config.memory.persistent_memory = PersistentMemory::SizeMatch;
    }
    CubeClRuntimeConfig::try_set(config);
}
