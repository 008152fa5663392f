//! Pools of small blocks in coherent memory (mm/dmapool.c).
//!
//! Which device a pool is for and how large its blocks are is said when it is created, so that no
//! type of the kernel has to be known.

use std::collections::BTreeMap;

use super::Tracker;
use crate::dma_api::call::ApiCall;
use crate::dma_api::shadow::{Direction, GuestDevice, MappingKind};
use crate::dma_api::spec::Effect;

/// The most pools that are followed. Of others all that counts is the page.
const MAX_POOLS: usize = 1024;

/// A pool.
#[derive(Clone, Copy, Debug)]
struct Pool {
    device: GuestDevice,
    /// The bytes of a block.
    bytes: u64,
}

/// The pools, by the address of their `struct dma_pool`.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools(BTreeMap<u64, Pool>);

impl Tracker {
    /// Does what a call means that is about a pool; `false` if it is not.
    pub(super) fn call_of_pool(&mut self, call: &ApiCall<'_, '_, '_>) -> bool {
        let done = match call.function.effect {
            Effect::CreatePool { device, size } => self.create_pool(call, device, size),
            Effect::DestroyPool => call.argument(0).map(|pool| {
                self.pools.0.remove(&pool);
            }),
            Effect::AllocateBlock { handle } => self.allocate_block(call, handle),
            Effect::FreeBlock { handle } => self.free_block(call, handle),
            _ => return false,
        };
        // Without one of its blocks a pool cannot be judged.
        if done.is_none()
            && let Some(pool) = call.argument(0).and_then(|pool| self.pools.0.remove(&pool))
        {
            self.give_up(pool.device);
        }
        true
    }

    fn create_pool(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: usize,
        size: usize,
    ) -> Option<()> {
        let (pool, device) = (call.returned(), GuestDevice(call.argument(device)?));
        let bytes = call.argument(size)?;
        let Pools(pools) = &mut self.pools;
        // Another one may have been there, whose end was not seen.
        pools.remove(&pool);
        if pool != 0 && device.0 != 0 && pools.len() < MAX_POOLS {
            pools.insert(pool, Pool { device, bytes });
        }
        Some(())
    }

    fn allocate_block(&mut self, call: &ApiCall<'_, '_, '_>, handle: usize) -> Option<()> {
        let pool = call.argument(0)?;
        let Some(&Pool { device, bytes }) = self.pools.0.get(&pool) else {
            return Some(());
        };
        if call.returned() == 0 {
            return Some(());
        }
        let first = call.read_address(call.argument(handle)?)?;
        self.meet(call.moment, device);
        if self.shadow.pool(device, first) {
            let kind = MappingKind::Block(pool);
            let block = self.mapping(call, (first, bytes), Direction::Both, kind, None);
            self.map(device, block);
        }
        Some(())
    }

    fn free_block(&mut self, call: &ApiCall<'_, '_, '_>, handle: usize) -> Option<()> {
        let pool = call.argument(0)?;
        let Some(&Pool { device, bytes }) = self.pools.0.get(&pool) else {
            return Some(());
        };
        let first = call.argument(handle)?;
        self.meet(call.moment, device);
        self.unmap(call, device, MappingKind::Block(pool), first, (bytes, None));
        Some(())
    }
}
