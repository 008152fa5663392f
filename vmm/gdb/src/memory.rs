//! Memory of the guest as a debugger sees it.

use vmm_machine::vcpu::Core;

/// Cuts the `len` bytes from `va` into parts of one page each, with their physical addresses; an
/// unmapped address is taken for a physical one.
fn places(core: &Core<'_>, va: u64, len: usize) -> Vec<(u64, usize)> {
    let mut places = Vec::new();
    let mut done = 0;
    while done < len {
        // Debuggers may ask for any range, also across the end of the address space.
        let at = va.wrapping_add(done as u64);
        // Pages of the smallest size: cutting a larger one does no harm.
        let part = (0x1000 - (at & 0xfff) as usize).min(len - done);
        // Before the kernel has mapped itself, its symbols are looked at by physical addresses.
        places.push((core.translate(at).unwrap_or(at), part));
        done += part;
    }
    places
}

/// Reads memory at `va` as the core sees it, and of unmapped addresses at the same physical ones,
/// up to the first page without RAM.
pub(super) fn read(core: &Core<'_>, va: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    for (pa, part) in places(core, va, len) {
        let mut piece = vec![0; part];
        if core.read_phys(pa, &mut piece).is_none() {
            break;
        }
        bytes.append(&mut piece);
    }
    bytes
}

/// Writes where [`read`] reads: all of it, or nothing if a page of it is no RAM.
pub(super) fn write(core: &mut Core<'_>, va: u64, bytes: &[u8]) -> Option<()> {
    let places = places(core, va, bytes.len());
    // Looked at before the first write. One byte of a part tells, since RAM ends where pages do.
    if places
        .iter()
        .any(|(pa, _)| core.read_phys(*pa, &mut [0]).is_none())
    {
        return None;
    }
    let mut rest = bytes;
    for (pa, part) in places {
        let (piece, after) = rest.split_at(part);
        core.write_phys(pa, piece)?;
        rest = after;
    }
    Some(())
}
