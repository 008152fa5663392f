//! Seeds of what looks random to a guest, which follow from the machine's.

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::Config;

/// A purpose that has its own stream of the seed.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    KernelSeed = 1,
    Rng = 2,
    Mac = 3,
}

/// Returns a seed for one purpose, so that two consumers never share a stream.
pub(crate) fn derive(seed: u64, stream: Stream) -> u64 {
    let mut mixer = Xoshiro256PlusPlus::seed_from_u64(seed);
    // Each stream takes the number at its own place in one sequence.
    (0..stream as u32).fold(0, |_, _| mixer.next_u64())
}

/// Returns the seed of the generator behind a machine's entropy device, which follows from the
/// machine's.
pub fn noise_seed(config: &Config) -> u64 {
    derive(config.seed, Stream::Rng)
}

/// Returns what the address of the network interface at place `index` follows from.
pub(crate) fn mac_seed(config: &Config, index: usize) -> u64 {
    derive(config.seed, Stream::Mac).wrapping_add(index as u64)
}
