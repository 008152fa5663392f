//! What a breakpoint of the engine is for.

/// The reasons for which there is a breakpoint at an address.
#[derive(Default)]
pub(super) struct Breakpoint {
    /// Probes at this address.
    pub(super) here: Vec<usize>,
    /// Probes of the return of the function that begins here.
    pub(super) calls: Vec<usize>,
    /// Calls that return here.
    pub(super) returns: usize,
}

impl Breakpoint {
    pub(super) const fn is_empty(&self) -> bool {
        self.returns == 0 && self.here.is_empty() && self.calls.is_empty()
    }
}
