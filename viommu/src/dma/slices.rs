//! The slices of one access.

use std::iter::FusedIterator;

use vm_memory::bitmap::MS;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemoryBackend, Permissions, VolatileSlice};

use super::connection::{Seen, View};
use super::port::{Port, Refusal};
use crate::host::{Map, RegionExtent, StableHostMemory};

/// Iterates over the slices of one access: one for each run of bytes that is contiguous in the
/// host.
pub(super) struct Slices<'a, M> {
    rest: Rest<'a, M>,
}

/// What is still to come of an access.
///
/// Passed by value where it leaves a function, never by reference: so the compiler keeps it in
/// registers, which is half of what a short access costs.
struct Rest<'a, M> {
    seen: Seen<'a, M>,
    /// The next address.
    iova: u64,
    /// Bytes still to be given out.
    left: usize,
    wanted: Permissions,
    /// Where `iova` leads, if that is known already: then its room is not 0.
    ahead: RegionExtent,
    /// The access goes on beyond the end of the address space, and `left` is up to there. Known
    /// when the first piece was asked for.
    wraps: bool,
}

impl<M> Clone for Rest<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Rest<'_, M> {}

const UNKNOWN: RegionExtent = RegionExtent {
    region: 0,
    offset: 0,
    room: 0,
};

/// Returns how many of `count` bytes from `iova` on lie within the address space, and whether the
/// range goes on beyond it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is below `count`")]
fn within_address_space(iova: u64, count: usize) -> (usize, bool) {
    // By the last byte, not the one after it: an access may end with the address space.
    if count == 0 || iova.checked_add(count as u64 - 1).is_some() {
        (count, false)
    } else {
        // The bytes up to 2^64: not 0 here, as from IOVA 0 no `count` overflows.
        (iova.wrapping_neg() as usize, true)
    }
}

impl<'a, M: StableHostMemory> Slices<'a, M> {
    /// Creates the iterator over an access of `count` bytes from `iova` on.
    #[inline(always)]
    pub fn new(seen: Seen<'a, M>, iova: u64, count: usize, wanted: Permissions) -> Self {
        Self {
            rest: Rest {
                seen,
                iova,
                left: count,
                wanted,
                ahead: UNKNOWN,
                wraps: false,
            },
        }
    }
}

impl<'a, M: StableHostMemory> Rest<'a, M> {
    /// Returns all that is left as one slice, if it is one and the model need not be asked for it.
    /// Nearly all accesses are like this; [`Rest::piece`] does the others.
    #[inline(always)]
    fn whole(&mut self) -> Option<VolatileSlice<'a, MS<'a, M>>> {
        let len = self.left;
        // With a translation looked up ahead this is a later piece of a longer access.
        if len == 0 || self.ahead.room > 0 {
            return None;
        }
        let slice = match self.seen.view {
            View::Port(port, map) => {
                let (iova, wanted) = (self.iova, self.wanted);
                // Nothing but the page at `iova` is looked at: it does not go on beyond the address
                // space.
                let place = match self.seen.way {
                    Some(way) => way.cached(iova, len, wanted)?,
                    None => port.cached(iova, len, wanted)?,
                };
                // None only where memory is just being removed: `piece` then makes the error.
                map.slice(&place, len)?
            }
            View::Open(memory) => memory
                .get_slice(GuestAddress(self.iova), len)
                .ok()
                .filter(|slice| slice.len() == len)?,
            // Errors are made by `piece`, outside of the path that is compiled into device code.
            View::Blocked => return None,
        };
        self.advance(len);
        Some(slice)
    }

    /// Returns the next slice or error, and what is left after it.
    #[inline(never)]
    fn piece(mut self) -> (Option<Result<VolatileSlice<'a, MS<'a, M>>>>, Self) {
        if !self.wraps {
            (self.left, self.wraps) = within_address_space(self.iova, self.left);
        }
        // What lies within the address space comes first, then the error for what does not.
        let piece = if self.left > 0 {
            Some(match self.seen.view {
                View::Port(port, map) => self.translated(port, map),
                View::Open(memory) => self.plain(memory),
                View::Blocked => {
                    Err(Refusal::blocked().into_error(self.iova, self.left, self.wanted))
                }
            })
        } else if self.wraps {
            Some(Err(Error::GuestAddressOverflow))
        } else {
            None
        };
        // After an error nothing follows.
        if matches!(piece, Some(Err(_))) {
            self.left = 0;
            self.wraps = false;
        }
        (piece, self)
    }

    /// Returns the next slice of memory that is not translated.
    fn plain(&mut self, memory: &'a M) -> Result<VolatileSlice<'a, MS<'a, M>>> {
        let addr = GuestAddress(self.iova);
        // `left` is not 0, so without a first item there is no memory.
        let slice = GuestMemoryBackend::get_slices(memory, addr, self.left)
            .next()
            .unwrap_or(Err(Error::InvalidGuestAddress(addr)))?;
        self.advance(slice.len());
        Ok(slice)
    }

    /// Returns the next slice, translated by a unit.
    fn translated(
        &mut self,
        port: &'a Port<M>,
        map: &'a Map<M>,
    ) -> Result<VolatileSlice<'a, MS<'a, M>>> {
        let place = if self.ahead.room > 0 {
            self.ahead
        } else {
            port.resolve(map, self.iova, self.wanted)
                .map_err(|refusal| {
                    // Reported here and not when it was looked up ahead: only now the access has
                    // come to it.
                    port.report(self.iova, self.wanted, &refusal);
                    refusal.into_error(self.iova, self.left, self.wanted)
                })?
        };
        let len;
        (len, self.ahead) = run((port, map), self.iova, self.left, self.wanted, place);
        self.advance(len);
        // The cache names a place outside of its region only where memory is just being removed.
        let slice = map.slice(&place, len);
        slice.ok_or(Error::InvalidBackendAddress)
    }

    #[inline(always)]
    fn advance(&mut self, len: usize) {
        // Wraps only to 0, and only when nothing is left.
        self.iova = self.iova.wrapping_add(len as u64);
        self.left -= len;
    }
}

/// Returns how many of `left` bytes from `iova` on, which leads to `place`, are contiguous in the
/// host, and where the byte after them leads, if that is known.
///
/// A translation that fails there is not reported: it may never be asked for.
fn run<M>(
    (port, map): (&Port<M>, &Map<M>),
    iova: u64,
    left: usize,
    wanted: Permissions,
    place: RegionExtent,
) -> (usize, RegionExtent) {
    let within = |room: u64, left: usize| usize::try_from(room).unwrap_or(usize::MAX).min(left);
    // The first page's room may already reach beyond the access; then no other is looked up.
    let mut len = within(place.room, left);
    while len < left {
        // No overflow: `left` was cut to the address space, and `len` is less.
        let Ok(next) = port.resolve(map, iova + len as u64, wanted) else {
            break;
        };
        // Two regions may lie anywhere in the host, even if guest addresses adjoin.
        if next.region != place.region || next.offset != place.offset + len as u64 {
            // Handed on, so that the next piece need not be looked up again.
            return (len, next);
        }
        len += within(next.room, left - len);
    }
    (len, UNKNOWN)
}

impl<'a, M: StableHostMemory> Iterator for Slices<'a, M> {
    type Item = Result<VolatileSlice<'a, MS<'a, M>>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(slice) = self.rest.whole() {
            return Some(Ok(slice));
        }
        let (piece, rest) = self.rest.piece();
        self.rest = rest;
        piece
    }
}

impl<M: StableHostMemory> FusedIterator for Slices<'_, M> {}

impl<'a, M: StableHostMemory> GuestMemorySliceIterator<'a, MS<'a, M>> for Slices<'a, M> {
    #[inline(always)]
    fn stop_on_error(self) -> Result<impl Iterator<Item = VolatileSlice<'a, MS<'a, M>>>> {
        let Self { mut rest } = self;
        let first = match rest.whole() {
            Some(slice) => Some(slice),
            None => {
                let piece;
                (piece, rest) = rest.piece();
                piece.transpose()?
            }
        };
        Ok(UntilError { first, rest })
    }
}

/// Slices up to the first error.
struct UntilError<'a, M: StableHostMemory> {
    first: Option<VolatileSlice<'a, MS<'a, M>>>,
    rest: Rest<'a, M>,
}

impl<'a, M: StableHostMemory> Iterator for UntilError<'a, M> {
    type Item = VolatileSlice<'a, MS<'a, M>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.first.is_some() {
            return self.first.take();
        }
        // Then nothing but the error of a range that wraps could follow, and this iterator ends at
        // errors.
        if self.rest.left == 0 {
            return None;
        }
        let (piece, rest) = self.rest.piece();
        self.rest = rest;
        piece?.ok()
    }
}

/// Returns whether all of an access is allowed and leads to memory. Nobody is told of a refusal.
pub(super) fn check<M: StableHostMemory>(
    view: View<'_, M>,
    mut iova: u64,
    count: usize,
    wanted: Permissions,
) -> bool {
    let (mut left, wraps) = within_address_space(iova, count);
    if wraps {
        return false;
    }
    match view {
        View::Open(memory) => GuestMemoryBackend::check_range(memory, GuestAddress(iova), count),
        View::Blocked => count == 0,
        View::Port(port, map) => {
            while left > 0 {
                let Ok(place) = port.resolve(map, iova, wanted) else {
                    return false;
                };
                let len = usize::try_from(place.room).unwrap_or(usize::MAX).min(left);
                iova = iova.wrapping_add(len as u64);
                left -= len;
            }
            true
        }
    }
}
