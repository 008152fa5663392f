//! The slices of one access.

use std::iter::FusedIterator;

use vm_memory::bitmap::MS;
use vm_memory::guest_memory::{
    Error, GuestMemoryBackendSliceIterator, GuestMemorySliceIterator, Result,
};
use vm_memory::{GuestAddress, GuestMemoryBackend, Permissions, VolatileSlice};

use super::Door;
use super::port::{Port, Refusal};
use crate::event::Event;
use crate::grace::Pin;
use crate::host::{Place, StableHostMemory};

/// Iterates over the slices of one access: one for each run of bytes that is contiguous in the host.
pub(super) enum Slices<'a, M: StableHostMemory> {
    /// Memory as it is.
    Plain(GuestMemoryBackendSliceIterator<'a, M>),
    /// Through a unit.
    Port(PortSlices<'a, M>),
    /// Not at all: the error, once.
    Refused(Option<Error>),
}

/// The slices of an access through a unit.
pub(super) struct PortSlices<'a, M> {
    port: &'a Port<M>,
    /// The next address.
    iova: u64,
    /// Bytes still to be given out.
    left: usize,
    wanted: Permissions,
    /// Where `iova` leads, if that is known already.
    ahead: Option<Place>,
    /// The access goes on beyond the end of the address space.
    wraps: bool,
    /// Keeps grace periods waiting, unless someone else does.
    _pin: Option<Pin<'a>>,
}

/// How many bytes of `count` from `iova` on there are before the address space ends, and whether there should be more.
#[inline]
fn within_address_space(iova: u64, count: usize) -> (usize, bool) {
    if count == 0 || iova.checked_add(count as u64 - 1).is_some() {
        (count, false)
    } else {
        (iova.wrapping_neg() as usize, true)
    }
}

impl<'a, M: StableHostMemory> Slices<'a, M> {
    /// The access of `count` bytes from `iova` on; pins the space for as long as the iterator lives if `pin`.
    #[inline]
    pub fn new(
        memory: &'a M,
        door: &'a Door<M>,
        iova: u64,
        count: usize,
        wanted: Permissions,
        pin: bool,
    ) -> Self {
        let (left, wraps) = within_address_space(iova, count);
        match door {
            Door::Port(port) => {
                if port.unit.wants_dma {
                    announce(port, iova, count, wanted);
                }
                Self::Port(PortSlices {
                    port,
                    iova,
                    left,
                    wanted,
                    ahead: None,
                    wraps,
                    _pin: pin.then(|| port.state.pins.pin()),
                })
            }
            Door::Open if !wraps => Self::Plain(GuestMemoryBackend::get_slices(
                memory,
                GuestAddress(iova),
                count,
            )),
            Door::Open => Self::Refused(Some(Error::GuestAddressOverflow)),
            Door::Blocked => Self::Refused(
                (count > 0).then(|| Refusal::blocked().into_error(iova, count, wanted)),
            ),
        }
    }
}

#[cold]
fn announce<M>(port: &Port<M>, iova: u64, length: usize, access: Permissions) {
    if length > 0 {
        port.unit.emit(&Event::Dma {
            endpoint: port.endpoint,
            iova,
            length,
            access,
        });
    }
}

impl<'a, M: StableHostMemory> PortSlices<'a, M> {
    #[inline]
    fn next(&mut self) -> Option<Result<VolatileSlice<'a, MS<'a, M>>>> {
        if self.left == 0 {
            return self.end();
        }
        let place = match self.ahead.take() {
            Some(place) => place,
            None => match self.port.resolve(self.iova, self.wanted) {
                Ok(place) => place,
                Err(refusal) => return Some(Err(self.refuse(refusal))),
            },
        };
        let len = if place.room >= self.left as u64 {
            self.left
        } else {
            self.run(&place)
        };
        // Wraps only to 0, and only when nothing is left.
        self.iova = self.iova.wrapping_add(len as u64);
        self.left -= len;
        match self.port.unit.host.slice(&place, len) {
            Some(slice) => Some(Ok(slice)),
            None => Some(Err(self.broken())),
        }
    }

    /// After the last byte.
    #[inline]
    fn end(&mut self) -> Option<Result<VolatileSlice<'a, MS<'a, M>>>> {
        if !self.wraps {
            return None;
        }
        self.wraps = false;
        Some(Err(Error::GuestAddressOverflow))
    }

    /// How many bytes from `iova` on are contiguous in the host, looking as far ahead as that is so.
    ///
    /// A translation that fails there is not reported: it may never be asked for.
    #[inline(never)]
    fn run(&mut self, place: &Place) -> usize {
        // Less than `left`, so it fits, and so do the sums.
        let mut len = place.room as usize;
        while len < self.left {
            let Ok(next) = self.port.resolve(self.iova + len as u64, self.wanted) else {
                break;
            };
            if next.region != place.region || next.offset != place.offset + len as u64 {
                self.ahead = Some(next);
                break;
            }
            len += usize::try_from(next.room)
                .unwrap_or(usize::MAX)
                .min(self.left - len);
        }
        len
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal) -> Error {
        self.port.report(self.iova, self.wanted, &refusal);
        let error = refusal.into_error(self.iova, self.left, self.wanted);
        self.left = 0;
        self.wraps = false;
        error
    }

    /// The cache has named a place outside of its region, which it never does.
    #[cold]
    fn broken(&mut self) -> Error {
        self.left = 0;
        self.wraps = false;
        Error::InvalidBackendAddress
    }
}

impl<'a, M: StableHostMemory> Iterator for Slices<'a, M> {
    type Item = Result<VolatileSlice<'a, MS<'a, M>>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Port(slices) => slices.next(),
            Self::Plain(slices) => slices.next(),
            Self::Refused(error) => error.take().map(Err),
        }
    }
}

impl<M: StableHostMemory> FusedIterator for Slices<'_, M> {}

impl<'a, M: StableHostMemory> GuestMemorySliceIterator<'a, MS<'a, M>> for Slices<'a, M> {
    #[inline]
    fn stop_on_error(mut self) -> Result<impl Iterator<Item = VolatileSlice<'a, MS<'a, M>>>> {
        let first = self.next().transpose()?;
        Ok(UntilError { first, rest: self })
    }
}

/// Slices up to the first error.
struct UntilError<'a, M: StableHostMemory> {
    first: Option<VolatileSlice<'a, MS<'a, M>>>,
    rest: Slices<'a, M>,
}

impl<'a, M: StableHostMemory> Iterator for UntilError<'a, M> {
    type Item = VolatileSlice<'a, MS<'a, M>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.first.take() {
            Some(first) => Some(first),
            None => self.rest.next()?.ok(),
        }
    }
}

/// Whether all of an access is allowed and leads to memory. Tells nobody.
pub(super) fn check<M: StableHostMemory>(
    memory: &M,
    door: &Door<M>,
    mut iova: u64,
    count: usize,
    wanted: Permissions,
) -> bool {
    let (mut left, wraps) = within_address_space(iova, count);
    if wraps {
        return false;
    }
    match door {
        Door::Open => GuestMemoryBackend::check_range(memory, GuestAddress(iova), count),
        Door::Blocked => count == 0,
        Door::Port(port) => {
            let _pin = port.state.pins.pin();
            while left > 0 {
                let Ok(place) = port.resolve(iova, wanted) else {
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
