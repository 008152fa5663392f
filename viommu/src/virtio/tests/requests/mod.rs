//! Requests (5.13.6), one test for each rule of the specification, named after it.

mod attach;
mod detach;
mod map;
mod operations;
mod peer;
mod probe;
mod reserved_memory;
mod unmap;

use super::harness::*;
use crate::virtio::spec::*;
use crate::virtio::{EndpointConfig, ReservedKind, ReservedRegion, VirtioIommuConfig};

const MAPPED: u64 = 0x10_0000;

/// Creates a machine with endpoint 8 on domain 1, with one page mapped.
fn mapped() -> Machine {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, MAPPED, MAPPED + 0xfff, RAM + 0x1000));
    machine
}

/// Creates a machine in which endpoint 8 has reserved regions, and the other has none.
fn reserved() -> Machine {
    Machine::active(reserved_config())
}

pub(super) fn reserved_config() -> VirtioIommuConfig {
    let mut config = config();
    let region = |first, last, kind| ReservedRegion { first, last, kind };
    config.endpoints[0].reserved = vec![
        region(0x800_0000, 0x80f_ffff, ReservedKind::Msi),
        region(0x1000, 0x2fff, ReservedKind::Reserved),
    ];
    config
}
