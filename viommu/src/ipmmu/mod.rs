//! The Renesas IPMMU-VMSA: the IOMMU of R-Car SoCs.
//!
//! An [`Ipmmu`] is one instance (R-Car Gen2) or a root with its leaves (Gen3, see [`Features`]).
//! Each [`Instance`] is a window of registers and a number of micro-TLBs (uTLBs), each of which is
//! the port of one or several bus masters; [`Instance::space`] gives the memory that those see.
//!
//! Modelled is what the Linux driver programs: long descriptors, 32-bit IOVAs, 4 or 8 contexts,
//! faults, flushes and the interrupt. Not modelled: short descriptors (every translation is then a
//! format fault), the PMB (its uTLBs are refused everything), the secure bank of Gen2, address
//! space IDs (stored, without effect), the 40-bit IOVAs of Gen3, and Gen4. The hardware manual is
//! not public; where no public source decides, comments say that it is a choice.
//!
//! ```
//! use std::sync::Arc;
//!
//! use viommu::ipmmu::{Ipmmu, IpmmuConfig, NoInterrupt, Observers};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0xc000_0000), 0x4000)])?;
//! let config = IpmmuConfig::gen2("ipmmu0");
//! let ipmmu = Ipmmu::new(Arc::new(ram), &config, Box::new(NoInterrupt), Observers::default())?;
//! let instance = ipmmu.instance(0).expect("the first of one");
//!
//! // Out of reset every uTLB is disabled, and accesses are not translated.
//! let dma = instance.space(3).expect("there are 32");
//! dma.write_obj(7u32, GuestAddress(0xc000_0010))?;
//! // With uTLB 3 on context 0, whose first table (at 0xc000_1000) maps nothing yet, they fault.
//! for (register, value) in [(0x810, 0xc000_1000), (0x808, 0x8000_0010), (0x800, 7), (0xb30, 3)] {
//!     instance.write(register, &u32::to_le_bytes(value));
//! }
//! assert!(dma.read_obj::<u32>(GuestAddress(0xc000_0010)).is_err());
//! let mut status = [0; 4];
//! instance.read(0x820, &mut status);
//! assert_eq!(u32::from_le_bytes(status), 0x1001, "a translation fault of level 1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod context;
mod decode;
mod device;
mod event;
mod features;
mod instance;
mod mappings;
mod registers;
mod shared;
pub mod spec;
mod state;

#[cfg(test)]
mod tests;

pub use config::{
    ConfigError, InstanceConfig, InterruptLine, IpmmuConfig, MAX_INSTANCES, NoInterrupt, Observers,
};
pub use decode::Register;
pub use device::Ipmmu;
pub use event::{IpmmuEvent, IpmmuObserver};
pub use features::{Features, GEN2, GEN3};
pub use instance::Instance;
pub use state::{ContextState, InstanceState, IpmmuState, RestoreError, UtlbState};
