//! What machines that are gone leave to those that come: memory in its place, and the predecoded
//! code.
//!
//! Most of the time of a short run would go into predecoding, translation and page faults. Memory
//! is made what it was at first, and code that was not made of that is compared with memory before
//! it runs, so that a machine which got some does what one which did not does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arm32::cluster::ClusterCode;

use super::memory::Memory;
use vmm_devices::ram::GuestRam;

/// Most that are kept: as many as may run at once and then some.
const MOST: usize = 64;

/// The remains of a machine.
pub(super) struct Remains {
    pub memory: Arc<GuestRam>,
    pub code: ClusterCode,
}

/// The remains of all machines of a snapshot.
#[derive(Default)]
pub(super) struct Bench(Mutex<Vec<Remains>>);

impl Bench {
    /// Keeps what a machine leaves, which may still be using it.
    pub fn keep(&self, left: Remains) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MOST {
            all.push(left);
        }
    }

    /// Has remains for up to `machines` machines, if there are any that can be copied: their code,
    /// with memory that `map` maps.
    ///
    /// # Errors
    /// Those of `map`; what was made by then is kept.
    pub fn spread(
        &self,
        machines: usize,
        map: impl Fn() -> io::Result<Arc<GuestRam>>,
    ) -> io::Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one is of the last machine, which has seen most.
        while let Some(model) = all.last().filter(|_| all.len() < machines.min(MOST)) {
            let memory = map()?;
            let code = model.code.copy();
            all.insert(0, Remains { memory, code });
        }
        Ok(())
    }

    /// Forgets them.
    pub fn clear(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *all);
        // Unmapping takes time, which others need not wait for.
        drop(all);
        drop(gone);
    }

    /// Returns how many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns remains that nobody uses any more, with their memory what `memory` is.
    pub fn take(&self, memory: &Memory) -> Option<Remains> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A machine that is being dropped may still hold its memory.
        let free = |left: &Remains| Arc::strong_count(&left.memory) == 1;
        let index = all.iter().rposition(free)?;
        let mut left = all.swap_remove(index);
        // Copying pages takes time, which others need not wait for.
        drop(all);
        let whole = memory.rewind(Arc::get_mut(&mut left.memory)?);
        whole.then_some(left)
    }
}
