//! The entropy device (5.4), fed by a seeded generator: what the guest takes for noise repeats with
//! the seed.

use crate::ram::DmaSpace;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::Bytes;
use vmm_base::warn_guest;

use super::budget::Budget;
use super::{
    Buffers, DeviceState, Progress, QueueService, ServeError, VirtioDevice, WrongState, serve,
};

/// Entries of the queue; the driver keeps one or two buffers in it.
const QUEUE_SIZE: u16 = 8;
/// Most descriptors of one request.
const MAX_DESCRIPTORS: usize = 64;
/// Most bytes that one request gets, however long its buffers: it bounds the work for one
/// notification.
pub const MAX_ENTROPY_BYTES: usize = 64 << 10;
/// Bytes made at a time.
const CHUNK: usize = 256;

/// The entropy device.
pub struct Rng {
    generator: Xoshiro256PlusPlus,
}

impl Rng {
    /// Creates a device whose noise is a function of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            generator: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is at most MAX_ENTROPY_BYTES"
    )]
    fn fill(&mut self, buffers: &Buffers, mem: &DmaSpace) -> u32 {
        let mut written = 0;
        for segment in &buffers.writable {
            // For one segment, of which 64 KiB at most are written: an invalidation waits no longer
            // than that.
            let pin = mem.pin();
            let mut addr = segment.addr;
            // Cannot underflow: no segment gets more than what the request may still have.
            let mut left = (segment.len as usize).min(MAX_ENTROPY_BYTES - written);
            while left > 0 {
                let mut noise = [0; CHUNK];
                let part = &mut noise[..left.min(CHUNK)];
                self.generator.fill_bytes(part);
                if let Err(error) = pin.write_slice(part, addr) {
                    warn_guest!("virtio-rng: {error}");
                    // The device has no status byte: the driver only sees a shorter length.
                    return written as u32;
                }
                written += part.len();
                left -= part.len();
                // Wraps only behind the last byte of the address space, where nothing is left to be
                // written.
                addr.0 = addr.0.wrapping_add(part.len() as u64);
            }
        }
        written as u32
    }
}

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let answer = |_, buffers: Result<Buffers, _>, mem: &_, budget: &mut Budget| {
            let written = match buffers {
                Ok(buffers) => self.fill(&buffers, mem),
                // Given back with length 0, or the driver would wait for its buffer for ever.
                Err(error) => {
                    warn_guest!("virtio-rng: {error}");
                    0
                }
            };
            budget.spend(u64::from(written));
            Some(written)
        };
        serve(turn.queue, turn.mem, MAX_DESCRIPTORS, turn.budget, answer)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Rng(self.generator.clone())
    }

    fn restore(&mut self, saved: &DeviceState) -> Result<(), WrongState> {
        let DeviceState::Rng(generator) = saved else {
            return Err(WrongState::Kind);
        };
        self.generator = generator.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, readable, writable};
    use super::*;

    fn noise(seed: u64, len: u32) -> (Vec<u8>, u32) {
        let mut driver = Driver::new(Box::new(Rng::new(seed)));
        driver.start(0);
        let buffer = driver.buffer(0);
        let used = driver.request(0, &[writable(buffer, len)]);
        (driver.read(buffer, used as usize), used)
    }

    #[test]
    fn noise_repeats_with_its_seed_only() {
        let (first, used) = noise(1, 1000);
        assert_eq!(used, 1000);
        assert_eq!(noise(1, 1000).0, first);
        assert_ne!(noise(2, 1000).0, first);
        assert!(first.iter().any(|b| *b != 0));
    }

    #[test]
    fn requests_are_bounded_and_bad_ones_get_nothing() {
        assert_eq!(noise(1, 1 << 20).1 as usize, MAX_ENTROPY_BYTES);
        let mut driver = Driver::new(Box::new(Rng::new(1)));
        driver.start(0);
        assert_eq!(driver.request(0, &[writable(0, 16)]), 0);
        assert_eq!(driver.request(0, &[readable(driver.buffer(0), 16)]), 0);
        let buffer = driver.buffer(0);
        assert_eq!(driver.request(0, &[writable(buffer, 16)]), 16);
    }
}
