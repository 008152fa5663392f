//! What a breakpoint of the engine is for.

/// Why a breakpoint lies where it does.
#[derive(Default)]
pub(super) struct Breakpoint {
    /// Probes at this very place.
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
