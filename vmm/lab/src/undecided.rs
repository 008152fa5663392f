//! Why a case cannot be judged.

use vmm_introspect::probe::ScopeError;
use vmm_machine::{KernelError, Reason};

/// The reason for which a case was not judged: the kernel is not one that it can be asked of, or
/// the host is in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The machine could not be made.
    #[error("{0}")]
    Setup(String),
    /// It is to be debugged, and cannot.
    #[error(
        "its behaviour, {0}, is made by probes that change the guest, and a debugger that goes back runs without: \
         name a case of the behaviour stock"
    )]
    Probed(String),
    /// The kernel did not come as far as its symbols.
    #[error("the kernel did not start, or nothing was found in memory that looks like one")]
    NoKernel,
    /// A probe could not be set.
    #[error("{0}")]
    Probes(String),
    /// The structures of the kernel are not known, so that it cannot be told what happens to which
    /// device.
    #[error(
        "the kernel's types are missing, without which its devices cannot be told apart: give --vmlinux FILE, the \
         vmlinux with debug information from the directory in which this kernel was built, or build it with \
         CONFIG_DEBUG_INFO_BTF"
    )]
    NoTypes,
    /// What the scenario is about cannot be seen in this kernel.
    #[error("it cannot be seen whether a device's DMA is torn down: {0}")]
    Unseen(ScopeError),
    /// There is no module of the clock generators.
    #[error(
        "the scenario needs the module of the late clocks: give the clk-axi-clkgen.ko that was built with \
            the kernel, as \
         --module FILE, or in a matrix as --kernel KERNEL,MODULE"
    )]
    NoClocks,
    /// The module of the clock generators is not for this kernel.
    #[error(
        "the kernel does not take the module of the late clocks: was it built with this kernel?"
    )]
    ClocksRefused,
    /// It did not come to user space, although nothing was changed in it.
    #[error("the kernel did not come to its first process ({0:?})")]
    NoUserSpace(Reason),
    /// The driver of the IOMMU did not attach a device.
    #[error(
        "no device was attached to an IOMMU: the kernel needs the IOMMU's driver (IPMMU_VMSA; VIRTIO_IOMMU for a \
         virtio-iommu) and VIRTIO_MMIO"
    )]
    NoAttach,
    /// The subject of the scenario did not happen.
    #[error(
        "the probe of {role} was torn down {seen} times, and the scenario is about {wanted} or more"
    )]
    NoTrigger {
        /// The device.
        role: char,
        /// The number of times that it happened.
        seen: u32,
        /// The number of times that it had to.
        wanted: u32,
    },
}

impl From<KernelError> for Undecided {
    fn from(error: KernelError) -> Self {
        Self::Setup(error.to_string())
    }
}
