//! What an endpoint is attached to.

use crate::fault::DomainId;

/// What an endpoint's accesses meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// Untranslated: the IOVA is the guest physical address of the same number.
    Bypass,
    /// Every access is a fault.
    Blocked,
    /// Translated through a domain.
    Domain(DomainId),
}

// An attachment as one word: these, or this bit and the domain's number.
const BYPASS: u64 = 0;
const BLOCKED: u64 = 1;
// Above every 32-bit number, so that no domain can pass for one of the two others.
const DOMAIN: u64 = 1 << 32;

impl Attachment {
    /// Returns the attachment as one word, for an atomic.
    #[inline]
    pub(crate) fn to_word(self) -> u64 {
        match self {
            Self::Bypass => BYPASS,
            Self::Blocked => BLOCKED,
            Self::Domain(DomainId(domain)) => DOMAIN | u64::from(domain),
        }
    }

    /// Returns the attachment that [`Attachment::to_word`] made `word` of.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is the number"
    )]
    pub(crate) fn from_word(word: u64) -> Self {
        match word {
            BYPASS => Self::Bypass,
            BLOCKED => Self::Blocked,
            // The low half is the number.
            _ => Self::Domain(DomainId(word as u32)),
        }
    }
}
