//! The Rockchip IOMMU: that of the SoCs from RK3036 and RK3288 on, and the one with 40-bit
//! addresses of RK3568.
//!
//! A [`RockchipIommu`] is one MMU: a window of ten registers, and one port, which one or several
//! bus masters stand behind; [`RockchipIommu::space`] gives the memory that those see.
//!
//! Modelled is what the Linux driver programs, for both formats of tables. Not modelled: several
//! MMUs in one node (make one IOMMU for each), accesses that wait until the guest has handled their
//! page fault (they are refused), cacheability and security bits, power and clocks.
//!
//! ```
//! use std::sync::Arc;
//!
//! use viommu::rockchip::{Format, NoInterrupt, Observers, RockchipConfig, RockchipIommu};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 0x4000)])?;
//! let config = RockchipConfig::new("vop_mmu", Format::Bits32);
//! let iommu = RockchipIommu::new(Arc::new(ram), &config, Box::new(NoInterrupt), Observers::default());
//!
//! // Out of reset paging is off, and accesses are not translated.
//! let dma = iommu.space();
//! dma.write_obj(7u32, GuestAddress(0x4000_0010))?;
//! // With a directory table (at 0x4000_1000) that maps nothing yet, and paging, they fault.
//! for (register, value) in [(0x00, 0x4000_1000), (0x08, 0)] {
//!     iommu.write(register, &u32::to_le_bytes(value));
//! }
//! assert!(dma.read_obj::<u32>(GuestAddress(0x4000_0010)).is_err());
//! let mut address = [0; 4];
//! iommu.read(0x0c, &mut address);
//! assert_eq!(u32::from_le_bytes(address), 0x4000_0010);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod device;
mod event;
mod registers;
mod shared;
pub mod spec;
mod state;
mod walk;
mod window;

#[cfg(test)]
mod tests;

pub use crate::interrupt::{InterruptLine, NoInterrupt};
pub use crate::register_event::{Observers, RegisterObserver};
pub use config::RockchipConfig;
pub use device::RockchipIommu;
pub use event::RockchipEvent;
pub use spec::{Format, Register};
pub use state::{RestoreError, RockchipState};
pub use walk::{MAX_READS, WalkedPage, walk};
