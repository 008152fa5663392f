//! dmabounce, which copies what a device does not reach (arch/arm/common/dmabounce.c, until Linux
//! 5.19). It maps by allocating coherent memory within reach, which is then given to the device as
//! what was to be mapped, and nothing else: those allocations are not the driver's.

use super::{ApiCall, Effect, Tracker};

/// A function that only kernels with dmabounce have.
const REGISTER: &str = "dmabounce_register_dev";
/// How the names of its functions begin.
const PREFIX: &str = "dmabounce_";

impl Tracker {
    /// Returns whether `call` is one of dmabounce's, for the memory that it copies to and from.
    pub(super) fn is_of_dmabounce(&mut self, call: &ApiCall<'_, '_, '_>) -> bool {
        let of_memory = matches!(
            call.function.effect,
            Effect::Allocate { .. }
                | Effect::Free { .. }
                | Effect::AllocateBlock { .. }
                | Effect::FreeBlock { .. }
        );
        if !of_memory || call.moment.kernel.symbols.address(REGISTER).is_none() {
            return false;
        }
        let made = self.stacks.note(call.moment);
        is_within(&self.stacks.call(&made).stack)
    }
}

/// Returns whether a call came through dmabounce.
fn is_within(stack: &[String]) -> bool {
    stack.iter().any(|function| function.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_through_dmabounce_are_told_by_their_stacks() {
        let stack = |text: &str| text.split(" < ").map(str::to_owned).collect::<Vec<_>>();
        for (text, expected) in [
            (
                "dma_pool_alloc+0x110 < dmabounce_map_page+0x254 < vring_map_one_sg+0x70",
                true,
            ),
            ("dmabounce_unmap_page+0x1e0 < detach_buf_split+0x114", true),
            (
                "dma_pool_destroy+0x40 < dmabounce_unregister_dev+0x50",
                true,
            ),
            (
                "vring_alloc_queue_split+0x90 < vring_create_virtqueue+0x5c",
                false,
            ),
            ("0xbf000120 < virtblk_probe+0xc8", false),
        ] {
            assert_eq!(is_within(&stack(text)), expected, "{text}");
        }
    }
}
