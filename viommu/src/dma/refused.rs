//! Why an access to a space was refused, found out from its error.

use vm_memory::guest_memory::Error;
use vm_memory::iommu::Error as IommuError;

use super::port::NO_MEMORY;
use crate::fault::FaultReason;

/// Why an access of a bus master was refused. Hardware sees an error response on its bus and, on
/// some buses, which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The IOMMU refused it, for this reason.
    Fault(FaultReason),
    /// It led, translated or not, to where no memory is.
    NoMemory,
    /// It went on beyond the end of the address space.
    Overflow,
}

impl Refused {
    /// Returns what `error` says, which must be that of an access through a
    /// [`DmaSpace`](crate::DmaSpace).
    pub fn of(error: &Error) -> Self {
        match error {
            Error::IommuError(IommuError::CannotResolve { reason, .. }) => Self::of_words(reason),
            Error::GuestAddressOverflow => Self::Overflow,
            // Without an IOMMU nothing else can be wrong with an address.
            _ => Self::NoMemory,
        }
    }

    /// vm-memory's error has room for words only: these are [`Refusal`](super::Refusal)'s own.
    fn of_words(words: &str) -> Self {
        if words.starts_with(NO_MEMORY) {
            return Self::NoMemory;
        }
        let mut reasons = FaultReason::ALL.into_iter();
        let found = reasons.find(|reason| words.starts_with(&reason.to_string()));
        Self::Fault(found.unwrap_or(FaultReason::Translation))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

    use super::super::{DmaSpace, Refusal};
    use super::*;
    use crate::model::Miss;

    #[test]
    fn every_refusal_is_told_by_its_error() {
        for reason in FaultReason::ALL {
            let refusal = Refusal::Fault(None, Miss::new(reason));
            for wanted in [Permissions::Read, Permissions::Write] {
                let error = refusal.into_error(0x1000, 4, wanted);
                assert_eq!(Refused::of(&error), Refused::Fault(reason));
            }
        }
        let error = Refusal::Bus(0x123).into_error(0x1000, 4, Permissions::Read);
        assert_eq!(Refused::of(&error), Refused::NoMemory);
    }

    #[test]
    fn spaces_without_an_iommu_tell_it_too() {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x1000), 0x1000)]).unwrap();
        let open = DmaSpace::pass_through(Arc::new(ram));
        let of = |at| Refused::of(&open.read_obj::<u64>(GuestAddress(at)).unwrap_err());
        assert_eq!((of(0), of(0x1ffc)), (Refused::NoMemory, Refused::NoMemory));
        let blocked = DmaSpace::blocked(open.memory_now());
        let error = blocked.read_obj::<u8>(GuestAddress(0x1000)).unwrap_err();
        assert_eq!(Refused::of(&error), Refused::Fault(FaultReason::Blocked));
    }
}
