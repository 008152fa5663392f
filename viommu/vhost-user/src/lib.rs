//! vhost-user devices behind a virtual IOMMU, for device back ends and for VMMs.
//!
//! With `VIRTIO_F_ACCESS_PLATFORM` a vhost-user device accesses memory by I/O virtual addresses
//! (IOVA). Its front end, the VMM, tells it what they lead to, with messages about the device's
//! IOTLB. This crate has both sides:
//!
//! - [`wire`]: messages over a Unix socket, and IOTLB messages among them;
//! - [`frontend`]: the half of a VMM;
//! - [`backend`]: the device's process, for devices that are written for it;
//! - [`relay`]: in front of devices that know of no IOMMU, unmodified.

#![deny(missing_docs, unsafe_code)]

pub mod backend;
pub mod frontend;
mod regions;
pub mod relay;
mod sync;
pub mod wire;

/// The README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
