//! Faults of chains, which every device has that asks.

use vmm_faults::DeviceFaults;

use super::{Buffers, Segment};

/// Lets the plan change a part of a request that has just been fetched.
pub(super) fn change_chain(faults: &DeviceFaults, buffers: &mut Buffers) {
    let parts = |buffers: &Buffers| {
        let all = buffers.readable.iter().chain(&buffers.writable);
        all.map(|segment| (segment.addr, segment.len))
            .collect::<Vec<_>>()
    };
    if let Some(new) = faults.chain(&parts(buffers)) {
        // In the order in which the plan was shown them, which its index counts by.
        let mut all = buffers.readable.iter_mut().chain(&mut buffers.writable);
        if let Some(segment) = all.nth(new.index) {
            *segment = Segment {
                addr: new.addr,
                len: new.len,
            };
        }
    }
}
