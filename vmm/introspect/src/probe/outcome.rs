//! What became of probes: types only.

use std::collections::BTreeMap;

use super::eval::{Change, EvalError};
use super::scope::ScopeError;
use crate::modules::ModulesError;
use crate::symbols::SymbolsError;
use crate::types::TypesError;
use crate::types::value::Value;
use crate::types::vmlinux::MismatchError;

/// One hit of a probe: what it saw and did.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Guest time, in nanoseconds since power-on.
    pub at: u64,
    /// The core.
    pub core: usize,
    /// The index of the probe, in the order in which they were given.
    pub probe: usize,
    /// The caller of the function; empty if unknown.
    pub caller: String,
    /// The values to be printed, by the text that asked for them.
    pub values: Vec<(String, Result<Value, EvalError>)>,
    /// The changes to the guest.
    pub changes: Vec<Change>,
    /// The actions, in words.
    pub actions: Vec<String>,
}

/// The reason for which probes cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A probe does not fit the kernel.
    #[error("the probe `{text}` does not fit this kernel: {source}")]
    Scope {
        /// The probe.
        text: String,
        /// The reason.
        source: ScopeError,
    },
    /// A probe waited for a module in vain.
    #[error(
        "the probe `{text}` was never set: neither this kernel nor a module that it loaded has a `{site}`"
    )]
    NeverLoaded {
        /// The probe.
        text: String,
        /// Its place.
        site: String,
    },
    /// A probe waits for a module, and modules cannot be looked at.
    #[error("the probe `{text}` is in no part of this kernel that can be seen: {source}")]
    Modules {
        /// The probe.
        text: String,
        /// The reason.
        source: ModulesError,
    },
    /// It cannot be told where a 64-bit kernel is.
    #[error(
        "no probe can be set: neither symbols nor header of this kernel tell where in memory it begins"
    )]
    NoBeginning,
    /// The `vmlinux` that was given is of another kernel.
    #[error(transparent)]
    Vmlinux(#[from] MismatchError),
    /// There is a kernel, without symbols.
    #[error("no probe can be set: {0}")]
    Symbols(#[from] SymbolsError),
}

/// The outcome of a set of probes; shared with whoever started the run.
#[derive(Clone, Debug, Default)]
pub struct ProbeResults {
    /// Whether the kernel was found and the probes were set.
    pub armed: bool,
    /// The reason why not, or why no longer.
    pub error: Option<ProbeError>,
    /// The reason for which the kernel's types are not known, if they are not.
    pub no_types: Option<TypesError>,
    /// The optional probes that do not fit the kernel, and why.
    pub left_out: BTreeMap<usize, ScopeError>,
    /// The number of hits of each probe with its condition true.
    pub hits: Vec<u64>,
    /// The probe that ended the run, if one did.
    pub stopped_by: Option<usize>,
}
