//! The Arm SMMU of architecture version 2, as the Linux driver for "arm,smmu-v2" knows it: stage 1,
//! long descriptors.
//!
//! An [`SmmuV2`] is one window of registers, streams, and context banks. Each stream is an endpoint
//! by its number; [`SmmuV2::space`] gives the memory that bus masters of that stream see.
//!
//! Not modelled, and not announced in its ID registers where those can say so: stage 2, the formats
//! of AArch64, secure state, stalls (every fault aborts the access), privileged bus masters,
//! memory attributes, broadcast of invalidations by CPUs, performance monitors.
//!
//! ```
//! use std::sync::Arc;
//!
//! use viommu::smmu_v2::{NoInterrupt, Observers, SmmuV2, SmmuV2Config};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 0x4000)])?;
//! let config = SmmuV2Config::new("smmu");
//! let smmu = SmmuV2::new(Arc::new(ram), &config, Box::new(NoInterrupt), Observers::default());
//!
//! // Out of reset accesses bypass the SMMU.
//! let dma = smmu.space(3);
//! dma.write_obj(7u32, GuestAddress(0x4000_0010))?;
//! // With sCR0.USFCFG and without CLIENTPD, a stream that matches no group faults, which sGFSR.USF shows.
//! smmu.write(0x00, &u32::to_le_bytes(0x400));
//! assert!(dma.read_obj::<u32>(GuestAddress(0x4000_0010)).is_err());
//! let mut status = [0; 4];
//! smmu.read(0x48, &mut status);
//! assert_eq!(u32::from_le_bytes(status), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod context;
mod decode;
mod device;
mod event;
mod invalidate;
mod operation;
mod registers;
mod route;
mod shared;
pub mod spec;
mod state;
mod window;

#[cfg(test)]
mod tests;

pub use crate::interrupt::{InterruptLine, NoInterrupt};
pub use crate::register_event::{Observers, RegisterObserver};
pub use config::SmmuV2Config;
pub use decode::Register;
pub use device::SmmuV2;
pub use event::SmmuV2Event;
pub use state::{BankState, GroupState, RestoreError, SmmuV2State};
