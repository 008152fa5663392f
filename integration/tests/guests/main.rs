//! Tests that boot guests, one file a subject.

mod alarms;
mod boards;
mod boot;
mod console;
mod copies;
mod debug_registers;
mod determinism;
mod disks;
mod disturbed;
mod fault_recordings;
mod inject;
mod iommu;
mod kernels;
mod recordings;
mod snapshots;
mod vhost_user;
mod virtio_iommu;
