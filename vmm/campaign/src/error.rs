//! Why a campaign, or a run of it, cannot be.

use std::io;

use vmm_base::Reason;
use vmm_introspect::probe::ProbeError;
use vmm_introspect::symbols::SymbolsError;

use crate::classify::Outcome;

/// The reason for which a machine does not come to the beginning of its scenario, or a run to its
/// end.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The machine cannot be made, or be made a snapshot of.
    #[error(transparent)]
    Machine(#[from] vmm_machine::Error),
    /// Someone cannot see what the machine shows.
    #[error(transparent)]
    Viewer(#[from] vmm_base::TextError),
    /// There is no file for the disk.
    #[error("there is no disk: {0}")]
    Disk(io::Error),
    /// What is on the disk cannot be read.
    #[error("the disk cannot be read: {0}")]
    ReadDisk(io::Error),
    /// The run ended first.
    #[error("the guest {} before its scenario began", .0.sentence())]
    Early(Reason),
    /// The guest's kernel has no symbols.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// The plan names a function that the guest's kernel has not.
    #[error("the guest's kernel has no function {0}: use one of its /proc/kallsyms")]
    Function(String),
    /// The functions whose code is looked at have too many blocks.
    #[error("the functions of --cover have more than {0} blocks: name fewer")]
    Blocks(usize),
    /// What the plan waits for under a condition cannot be read.
    #[error("fault {number}: `probe`: {what}")]
    Condition {
        /// Which fault of the plan, from 1.
        number: usize,
        /// What is wrong.
        what: String,
    },
    /// It does not fit the kernel.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A plan that names functions is to be at work before there is a kernel.
    #[error(
        "the plan names functions of the kernel, which is not in memory at power-on: go on from a snapshot, by \
         vmm snapshot restore FILE --faults PLAN"
    )]
    TooEarly,
    /// Mistakes with DMA are to be looked for, and the kernel's calls cannot be followed.
    #[error("the sanitizer does not follow the kernel's DMA API: {0}")]
    NotFollowed(String),
    /// Plans are for 32-bit kernels.
    #[error("the guest's kernel is no 32-bit one")]
    Wide,
    /// Something else is wrong with the scenario, without any fault.
    #[error("the scenario does not go well without faults: {0}")]
    Unwell(String),
    /// Its commands fail.
    #[error(
        "the scenario does not go well without faults: the commands ended with {statuses:?}, and the run is a {outcome}"
    )]
    Commands {
        /// What they exited with.
        statuses: Vec<u8>,
        /// What the run is.
        outcome: Outcome,
    },
    /// The plan names a device that the scenario's machine has not.
    #[error("fault {number}: there is no device {name}: use one of {known}")]
    Device {
        /// Which fault of the plan, from 1.
        number: usize,
        /// The device.
        name: String,
        /// Those that there are, with commas between.
        known: String,
    },
}
