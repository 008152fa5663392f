//! Tests that boot guests, one file a subject.

mod alarms;
mod boards;
mod boot;
mod console;
mod copies;
mod debug_registers;
mod debugger;
mod determinism;
mod disks;
mod disturbed;
mod dma_api;
mod ecx2000;
mod fault_recordings;
mod guided;
mod history;
mod inject;
mod iommu;
mod kernels;
mod koelsch;
mod network;
mod recordings;
mod sanitizer;
mod snapshots;
mod vhost_user;
mod virtio_iommu;
