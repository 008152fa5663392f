//! The reason for which a text is no probe.

/// The reason for which a text is no probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", at + 1)]
pub struct SyntaxError {
    /// Offset of the byte where it went wrong.
    pub at: usize,
    /// The mistake.
    pub message: String,
}

impl SyntaxError {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}
