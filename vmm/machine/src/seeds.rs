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

/// Returns what the address of network interface `index` follows from: none of
/// [`mac_seed`]'s.
pub(crate) fn net_mac_seed(config: &Config, index: usize) -> u64 {
    mac_seed(config, config.vhost_user.len().saturating_add(index))
}

/// Returns an Ethernet address of the range for local use (IEEE 802, the second bit), of one
/// interface.
pub(crate) fn local_mac(seed: u64) -> [u8; 6] {
    let [a, b, c, d, e, ..] = seed.to_le_bytes();
    [0x02, a, b, c, d, e]
}

/// Returns what the address of the vhost-user interface at place `index` follows from.
pub(crate) fn mac_seed(config: &Config, index: usize) -> u64 {
    derive(config.seed, Stream::Mac).wrapping_add(index as u64)
}
