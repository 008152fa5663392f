//! Which bus master is at work: an IOMMU knows ports only, and several bus masters may share one.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The bus master that works on this thread, by its index in [`Board::devices`](crate::machine::board::Board::devices):
/// for an [`IommuSink`](super::IommuSink), which is called on the thread that accesses memory.
pub fn current_master() -> Option<usize> {
    CURRENT.get()
}

/// From now on, as long as the result lives, accesses made on this thread are those of `master`.
pub(crate) fn enter(master: Option<usize>) -> AtWork {
    AtWork {
        previous: CURRENT.replace(master),
        _thread: PhantomData,
    }
}

/// While it lives a bus master is at work.
#[must_use = "the bus master is at work only as long as this lives"]
pub(crate) struct AtWork {
    previous: Option<usize>,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        CURRENT.set(self.previous);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_may_be_nested() {
        assert_eq!(current_master(), None);
        let outer = enter(Some(3));
        drop(enter(Some(4)));
        assert_eq!(current_master(), Some(3));
        drop(outer);
        assert_eq!(current_master(), None);
    }
}
