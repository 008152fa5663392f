//! Accesses to watched RAM.

use vmm_machine::vcpu::{Halted, RamHit};

use super::Engine;
use crate::probe::eval::Frame;
use crate::probe::watch::Moment;

impl Engine {
    /// Tells the watcher of an access that core `core` is about to make to RAM that is watched,
    /// which is only done for a watcher.
    pub(super) fn accessed(&mut self, core: usize, hit: &RamHit, halted: &mut Halted<'_>) {
        let (Some(kernel), Some(watcher)) = (&self.kernel, &mut self.watcher) else {
            return;
        };
        if let Some(view) = halted.cores.core(core) {
            let moment = Moment {
                probe: usize::MAX,
                now_ns: halted.now_ns,
                kernel,
                core: &view,
                frame: &Frame::at_entry(&view),
            };
            watcher.accessed(&moment, hit);
        }
        watcher.watch_ram(&mut halted.cores);
    }
}
