//! Prints how long it takes to compare what a guest of an image boots from with its hashes, as
//! every boot does.
//!
//! `cargo run --release -p guest-images --example verify_cost -- ipmmu`

use std::error::Error;
use std::time::Instant;

use guest_images::{Cache, hash_file};

/// Repetitions, of which the fastest counts: what else the machine does is not of interest.
const TIMES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("name an image")?;
    let image = Cache::open()?
        .image(&name)?
        .ok_or("the image is not in the cache")?;
    let files = [Some(image.kernel), image.raw_kernel, Some(image.initramfs)];
    let files: Vec<_> = files.into_iter().flatten().collect();
    let mut bytes = 0;
    for path in &files {
        bytes += std::fs::metadata(path)?.len();
    }
    let mut best = f64::MAX;
    for _ in 0..TIMES {
        let start = Instant::now();
        for path in &files {
            hash_file(path)?;
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name}: {bytes} bytes in {:.1} ms", best * 1e3);
    Ok(())
}
