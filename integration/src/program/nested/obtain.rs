//! The images of the outer machine and of its guests.

use guest_images::{Cache, Image, Terminal};

/// Returns an image, obtained if need be.
///
/// # Errors
/// A sentence.
pub fn obtain(name: &str) -> anyhow::Result<Image> {
    Cache::open()
        .and_then(|cache| cache.obtain(name, &mut Terminal::new()))
        .map_err(anyhow::Error::msg)
}
