//! virtio-iommu (OASIS Virtual I/O Device specification 1.2, section 5.13), without a transport.
//!
//! A [`VirtioIommu`] is the device: [`VirtioIommu::space`] gives the memory that an endpoint sees,
//! and the driver's requests say what that is. All requests, features and properties of that
//! version are there.
//!
//! # For transports
//! - The device is [`spec::DEVICE_ID`]; offer [`VirtioIommu::offered_features`] beside the
//!   transport's own, and show [`VirtioIommu::config_space`]; pass writes to
//!   [`VirtioIommu::write_config`].
//! - When the driver has accepted features, call [`VirtioIommu::activate`]; when it resets the
//!   device, [`VirtioIommu::reset`]; when the machine is reset, [`VirtioIommu::system_reset`].
//! - Queue [`spec::REQUEST_QUEUE`]: at a notification call [`VirtioIommu::process_requests`], or
//!   with a bound on the time that this takes [`VirtioIommu::process_requests_within`]. If
//!   [`Served::pending`], go on with other work, such as running vCPUs, and call
//!   [`VirtioIommu::poll`] from time to time: a device that is using memory which the driver has
//!   just unmapped must be able to come to an end, and it may be waiting for a vCPU.
//! - Queue [`spec::EVENT_QUEUE`]: call [`VirtioIommu::process_events`] at a notification, and when
//!   [`ReportsWaiting`] says so, on a thread that is not the device's.
//! - The memory given to both is what the virtio-iommu itself sees: usually the guest's, as it is,
//!   or a pinned [`DmaSpace`](crate::DmaSpace). That must not be of one of this device's own
//!   endpoints.
//!
//! ```
//! use std::sync::Arc;
//!
//! use viommu::virtio::{EndpointConfig, Observers, VirtioIommu, VirtioIommuConfig, spec};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 0x4000)])?;
//! let config = VirtioIommuConfig::new([EndpointConfig::new(8)]);
//! let mut iommu = VirtioIommu::new(Arc::new(ram), config, Box::new(|| {}), Observers::default())?;
//! iommu.activate(iommu.offered_features())?;
//!
//! // Endpoint 8 is attached to nothing, and the field `bypass` is 1: accesses are not translated.
//! let dma = iommu.space(8).expect("there is one");
//! dma.write_obj(7u32, GuestAddress(0x4000_0010))?;
//! // The driver wants unattached endpoints blocked.
//! iommu.write_config(spec::config::BYPASS as u64, &[0]);
//! assert!(dma.read_obj::<u32>(GuestAddress(0x4000_0010)).is_err());
//! assert_eq!(iommu.waiting_reports(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod chain;
mod config;
mod device;
mod domains;
mod endpoints;
mod events;
mod hotplug;
mod listeners;
mod mappings;
mod plans;
mod process;
mod requests;
mod shared;
pub mod spec;
mod state;
mod tree;

#[cfg(test)]
mod tests;

pub use config::{
    ConfigError, DEFAULT_MAX_ENDPOINTS, DEFAULT_MAX_MAPPINGS, EndpointConfig, Exchange,
    MAX_PROBE_SIZE, MOST_ENDPOINTS, Observers, ReportsWaiting, RequestObserver, ReservedKind,
    ReservedRegion, VirtioIommuConfig,
};
pub use device::{DomainNames, FeatureError, VirtioIommu};
pub use events::{FaultReport, MAX_WAITING_REPORTS, ReportCounters};
pub use hotplug::EndpointError;
pub use listeners::ListenError;
pub use process::{Quota, ServeError, Served};
pub use requests::{ParseError, Request};
pub use state::{
    AnswerState, DomainState, EndpointState, MappingState, RestoreError, VirtioIommuState,
};
