//! Kernel modules for guests, compiled against the headers of the kernels that these boot.

use std::path::{Path, PathBuf};

use guest_images::{Cache, Terminal};

/// Compiles the module of the C file `source` in `directory` for the kernel of a stock image, with
/// headers that are fetched if they are not in the cache. The image may be obtained anew: boot it
/// after this.
///
/// # Panics
/// If it cannot be compiled.
pub fn module(image: &str, source: &Path, directory: &Path) -> PathBuf {
    let progress = &mut Terminal::plain();
    let made = Cache::open().and_then(|cache| cache.module(image, source, directory, progress));
    match made {
        Ok(module) => module,
        Err(error) => panic!("a module for {image} cannot be compiled: {error}"),
    }
}
