//! What a translation and a fault are: types only.

use serde::{Deserialize, Serialize};

use crate::debug::spec::DebugEvent;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// A data read.
    Read,
    /// A data write.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Why an access aborts (ARM ARM DDI 0406C B3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The address is not aligned for this access or this memory.
    Alignment,
    /// A debug event: BKPT, or a breakpoint, watchpoint or vector catch in Monitor debug-mode.
    Debug(DebugEvent),
    /// A descriptor is invalid, or the walk is disabled.
    Translation,
    /// The access flag of the descriptor is clear.
    AccessFlag,
    /// The domain of the page allows no access (short descriptors).
    Domain,
    /// The page does not permit this access at this privilege level.
    Permission,
    /// Nothing answers at the physical address.
    External,
    /// Nothing answers at the address of a descriptor.
    ExternalOnWalk,
}

/// An aborted access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The cause.
    pub kind: FaultKind,
    /// The level of the descriptor at fault: 1 or 2 (short descriptors), 1 to 3 (long descriptors);
    /// 0 when the cause has no level.
    pub level: u8,
    /// The domain (short descriptors; 0 otherwise or when unknown).
    pub domain: u8,
    /// The virtual address of the access.
    pub va: u32,
    /// What the access wanted.
    pub access: Access,
}

impl Fault {
    /// Creates a fault without level and domain.
    pub const fn new(kind: FaultKind, va: u32, access: Access) -> Self {
        Self {
            kind,
            level: 0,
            domain: 0,
            va,
            access,
        }
    }

    /// Creates the fault of an access that is not aligned as it must be.
    pub const fn alignment(va: u32, access: Access) -> Self {
        Self::new(FaultKind::Alignment, va, access)
    }

    /// Creates the fault of an access that was translated, but nothing answers at the physical
    /// address.
    pub const fn external(va: u32, access: Access) -> Self {
        Self::new(FaultKind::External, va, access)
    }

    /// Creates the fault of a debug event about `access` to `va`.
    pub const fn debug(event: DebugEvent, va: u32, access: Access) -> Self {
        Self::new(FaultKind::Debug(event), va, access)
    }

    /// Creates the fault of BKPT at `va`, to be taken as a Prefetch Abort.
    pub const fn breakpoint(va: u32) -> Self {
        Self::debug(DebugEvent::Bkpt, va, Access::Execute)
    }
}

/// What one privilege level may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perms {
    /// Read data.
    pub read: bool,
    /// Write data.
    pub write: bool,
    /// Fetch instructions.
    pub execute: bool,
}

impl Perms {
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        execute: true,
    };
    /// Nothing.
    pub const NONE: Self = Self {
        read: false,
        write: false,
        execute: false,
    };

    /// Returns whether `access` is permitted.
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }
}

/// The memory types of the architecture (A3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Normal memory: unaligned accesses are fine.
    Normal,
    /// Device memory: accesses must be aligned.
    Device,
    /// Strongly-ordered memory: accesses must be aligned.
    StronglyOrdered,
}

/// Who else sees the accesses coherently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shareability {
    /// Nobody.
    Non,
    /// The outer shareable domain.
    Outer,
    /// The inner shareable domain.
    Inner,
}

/// Memory attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The memory type.
    pub memory: MemoryType,
    /// The attributes in the encoding of one byte of MAIRn (B4.1.104), whatever the descriptor
    /// format.
    pub mair: u8,
    /// Shareability.
    pub shareability: Shareability,
}

/// A successful translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address (40 bits) of the byte that was asked for.
    pub pa: u64,
    /// Size of the mapping that holds it, as a power of two of bytes: 12 (also when the MMU is
    /// off), 16, 20, 21, 24 or 30.
    pub size_log2: u8,
    /// The domain (short descriptors with the MMU on).
    pub domain: Option<u8>,
    /// Whether the mapping is the same in all address spaces (nG clear).
    pub global: bool,
    /// Memory attributes.
    pub attributes: Attributes,
    /// What PL0 may do under the current DACR and SCTLR.
    pub user: Perms,
    /// What PL1 may do under the current DACR and SCTLR.
    pub privileged: Perms,
}

impl Translation {
    /// Returns what the given privilege level may do.
    pub const fn perms(&self, privileged: bool) -> Perms {
        if privileged {
            self.privileged
        } else {
            self.user
        }
    }

    /// Returns whether unaligned accesses are allowed here; otherwise they take an alignment fault
    /// ([`Fault::alignment`]).
    pub const fn unaligned_ok(&self) -> bool {
        matches!(self.attributes.memory, MemoryType::Normal)
    }
}
