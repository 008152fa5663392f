//! The set of the software TLB that generated code may change to, without asking anybody.
//!
//! A kernel with `CPU_SW_DOMAIN_PAN` writes DACR twice whenever it reaches for the memory of a
//! program: to and fro between two values.

use super::{ENTRIES, Key, Tlb};

/// No DACR.
const NONE: u64 = u64::MAX;

/// A set of the privileged level, another than the current one.
#[derive(Debug)]
#[repr(C)]
pub struct Partner {
    /// The DACR that it is for; more than any, if there is no such set.
    pub(crate) dacr: u64,
    /// The address of its entries.
    pub(crate) entries: usize,
    /// The address of the tags of the pages that it may fetch from.
    pub(crate) tags: usize,
    /// Where it begins, in entries.
    pub(crate) base: usize,
}

impl Default for Partner {
    fn default() -> Self {
        Self {
            dacr: NONE,
            entries: 0,
            tags: 0,
            base: 0,
        }
    }
}

impl Tlb {
    /// Has generated code change back to the set that was just left, if it and the current one are
    /// of the privileged level. `left` is what it was for, and where it begins.
    pub(super) fn note_partner(&mut self, (key, base): (Option<Key>, usize)) {
        let now = self.keys[self.base / ENTRIES];
        let both = key.filter(|key| key.privileged && now.is_some_and(|now| now.privileged));
        match both {
            // It may have been recycled just now.
            Some(key) if base != self.base => {
                let entries = self.entries[base..].as_ptr().expose_provenance();
                #[expect(clippy::cast_possible_truncation, reason = "there are few sets")]
                let tags = self.fetched.tags_address((base / ENTRIES) as u32);
                self.partner = Partner {
                    dacr: key.dacr.into(),
                    entries,
                    tags,
                    base,
                };
            }
            _ => self.check_partner(),
        }
    }

    /// Forgets the partner if its set has become another's.
    pub(super) fn check_partner(&mut self) {
        let Partner { dacr, base, .. } = self.partner;
        let wanted = u32::try_from(dacr).ok().map(|dacr| Key {
            privileged: true,
            dacr,
        });
        if wanted.is_none() || self.keys[base / ENTRIES] != wanted {
            self.partner = Partner::default();
        }
    }
}
