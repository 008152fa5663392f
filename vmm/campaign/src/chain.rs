//! Lines of a journal, each bound to all before it by a hash.

use sha2::{Digest, Sha256};

/// What a journal calls itself.
pub(super) const MAGIC: &str = "viommu-inject";

/// What stands between a line's own members and the hexadecimal digits of its hash.
const BEGIN: &[u8] = b",\"chain\":\"";
/// What stands behind those digits.
const END: &[u8] = b"\"}\n";

/// The hash of a journal up to the end of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain([u8; 32]);

impl Default for Chain {
    /// Returns the chain of a journal without a line.
    fn default() -> Self {
        Self(Sha256::digest(MAGIC).into())
    }
}

impl Chain {
    /// Adds the hash as the last member to a JSON object, and ends the line: the hash up to its
    /// end.
    pub fn close(&self, object: &mut Vec<u8>) -> Self {
        // The object's closing brace.
        object.pop();
        let next = self.next(object);
        object.extend_from_slice(BEGIN);
        object.extend_from_slice(next.hex().as_bytes());
        object.extend_from_slice(END);
        next
    }

    /// Returns the hash up to the end of `line`, and what stands before it in the line; `None` if
    /// it is another.
    pub fn open<'l>(&self, line: &'l [u8]) -> Option<(Self, &'l [u8])> {
        let line = line.strip_suffix(END)?;
        // The hash has two digits for each byte; the line may be shorter than that.
        let (before, found) = line.split_at_checked(line.len().checked_sub(2 * self.0.len())?)?;
        let body = before.strip_suffix(BEGIN)?;
        let next = self.next(body);
        (next.hex().as_bytes() == found).then_some((next, body))
    }

    fn next(&self, body: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(body);
        Self(hash.finalize().into())
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
