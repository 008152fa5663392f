//! The targets: each runs one input, and panics when something is wrong.

pub mod btf;
pub mod config;
pub mod cpu;
pub mod decoder;
pub mod dma_tester;
pub mod dwarf;
pub mod ecx2000;
pub mod fault_plan;
pub mod firmware;
mod follower;
pub mod gdb;
pub mod gic;
pub mod images;
mod iommu;
pub mod ipmmu;
pub mod kallsyms;
pub mod koelsch;
pub mod lab;
pub mod loader;
pub mod net;
pub mod planted;
pub mod probe;
pub mod questions;
mod rest;
pub mod rockchip;
pub mod rtc;
pub mod saved_state;
pub mod smmu_v2;
pub mod snapshot;
pub mod sregs;
mod text;
pub mod uart;
pub mod vhost_user_backend;
mod vhost_user_device;
pub mod vhost_user_frontend;
pub mod virtio_iommu;
pub mod virtio_mmio;
pub mod vmsa64;
pub mod walk;

/// Runs one input.
pub type Run = fn(&[u8]);

/// Every target by its name.
pub const ALL: &[(&str, Run)] = &[
    ("btf", btf::fuzz),
    ("config", config::fuzz),
    ("cpu", cpu::fuzz),
    ("decoder", decoder::fuzz),
    ("dma_tester", dma_tester::fuzz),
    ("dwarf", dwarf::fuzz),
    ("ecx2000", ecx2000::fuzz),
    ("fault_plan", fault_plan::fuzz),
    ("firmware", firmware::fuzz),
    ("gdb", gdb::fuzz),
    ("gic", gic::fuzz),
    ("images", images::fuzz),
    ("ipmmu", ipmmu::fuzz),
    ("kallsyms", kallsyms::fuzz),
    ("koelsch", koelsch::fuzz),
    ("lab", lab::fuzz),
    ("loader", loader::fuzz),
    ("net", net::fuzz),
    ("probe", probe::fuzz),
    ("questions", questions::fuzz),
    ("rockchip", rockchip::fuzz),
    ("rtc", rtc::fuzz),
    ("saved_state", saved_state::fuzz),
    ("smmu_v2", smmu_v2::fuzz),
    ("snapshot", snapshot::fuzz),
    ("sregs", sregs::fuzz),
    ("uart", uart::fuzz),
    ("vhost_user_backend", vhost_user_backend::fuzz),
    ("vhost_user_frontend", vhost_user_frontend::fuzz),
    ("virtio_iommu", virtio_iommu::fuzz),
    ("virtio_mmio", virtio_mmio::fuzz),
    ("vmsa64", vmsa64::fuzz),
    ("walk", walk::fuzz),
];
