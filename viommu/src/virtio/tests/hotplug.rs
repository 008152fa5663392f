//! Endpoints and memory that come and go.

use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::harness::*;
use crate::virtio::spec::{Status, attach_flag};
use crate::virtio::{
    ConfigError, EndpointConfig, EndpointError, ReservedKind, ReservedRegion, VirtioIommuConfig,
};

const MORE: u64 = RAM + RAM_SIZE + 0x10_0000;

fn region(start: u64) -> Arc<GuestRegionMmap<()>> {
    let region = GuestRegionMmap::from_range(GuestAddress(start), 0x1_0000, None);
    Arc::new(region.unwrap())
}

fn with_more(ram: &GuestMemoryMmap<()>) -> Arc<GuestMemoryMmap<()>> {
    Arc::new(ram.insert_region(region(MORE)).unwrap())
}

#[test]
fn an_endpoint_is_added_used_and_removed() {
    let mut machine = Machine::usual();
    machine.refused(attach(1, 77), Status::NoEnt);
    machine.iommu.add_endpoint(EndpointConfig::new(77)).unwrap();
    let twice = machine.iommu.add_endpoint(EndpointConfig::new(77));
    assert_eq!(twice, Err(ConfigError::Twice(77).into()));
    machine.ok(attach(1, 77));
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    let dma = machine.dma(77);
    assert!(dma.write_obj(1u8, GuestAddress(0)).is_ok() && machine.writes(EP, 0));
    let pin = dma.pin();
    let mut over = machine.iommu.remove_endpoint(77).unwrap();
    assert!(!over.is_over(), "an access is under way");
    drop(pin);
    assert!(over.is_over());
    assert!(dma.write_obj(1u8, GuestAddress(0)).is_err() && machine.writes(EP, 0));
    assert!(machine.iommu.space(77).is_none());
    machine.refused(detach(1, 77), Status::NoEnt);
    let again = machine.iommu.remove_endpoint(77).unwrap_err();
    assert_eq!(again, EndpointError::Unknown(77));
    // The handle that is left is not on the endpoint that comes next.
    machine.iommu.add_endpoint(EndpointConfig::new(78)).unwrap();
    machine.ok(attach(1, 78));
    assert!(machine.writes(78, 0) && dma.write_obj(1u8, GuestAddress(0)).is_err());
    let waiting = machine.iommu.waiting_reports();
    assert_eq!(waiting, 0, "nobody is told of an endpoint that is gone");
}

#[test]
fn the_last_endpoint_of_a_domain_takes_it_along() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    machine.writes(EP, 0);
    assert!(machine.iommu.remove_endpoint(EP).unwrap().is_over());
    assert_eq!(
        (machine.iommu.mappings(), machine.iommu.domains()),
        (0, vec![])
    );
    machine.ok(attach(1, OTHER));
    assert!(!machine.writes(OTHER, 0));
}

#[test]
fn places_end_at_the_limit_and_are_used_again() {
    let mut machine = Machine::active_with(|config| config.max_endpoints = 3);
    let handle = {
        machine.iommu.add_endpoint(EndpointConfig::new(1)).unwrap();
        machine.dma(1)
    };
    let full = machine.iommu.add_endpoint(EndpointConfig::new(2));
    let limit = ConfigError::Endpoints {
        count: 4,
        max_endpoints: 3,
    };
    assert_eq!(full, Err(limit.into()));
    let _ = machine.iommu.remove_endpoint(1).unwrap();
    let blocked = machine
        .iommu
        .add_endpoint(EndpointConfig::new(2))
        .unwrap_err();
    let handles = EndpointError::Handles {
        id: 2,
        max_endpoints: 3,
    };
    assert_eq!(blocked, handles);
    drop(handle);
    for id in 100..300 {
        machine.iommu.add_endpoint(EndpointConfig::new(id)).unwrap();
        machine.ok(attach(id, id));
        machine.ok(map_rw(id, 0, 0xfff, RAM));
        assert!(machine.writes(id, 0));
        assert!(machine.iommu.remove_endpoint(id).unwrap().is_over());
    }
}

#[test]
fn memory_is_added_and_removed() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0xfff, MORE));
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
    assert!(!machine.writes(EP, 0), "there is none yet");
    assert!(machine.writes(EP, 0x1000));
    let ram = Arc::clone(&machine.ram);
    let added = machine.iommu.set_memory(with_more(&ram));
    assert!(added.unwrap().is_over());
    assert!(machine.writes(EP, 0) && machine.writes(EP, 0));
    let dma = machine.dma(EP);
    let pin = dma.pin();
    assert!(pin.write_obj(1u8, GuestAddress(0)).is_ok());
    let mut removed = machine.iommu.set_memory(ram).unwrap();
    assert!(!removed.is_over(), "an access is under way");
    // What begins now finds it gone, though the mapping is there and was cached.
    assert!(!machine.writes(EP, 0) && pin.write_obj(1u8, GuestAddress(0)).is_err());
    drop(pin);
    assert!(removed.is_over());
    assert!(!machine.writes(EP, 0) && machine.writes(EP, 0x1000));
    // The driver may map what is not there, and meets a bus error, as before.
    machine.ok(map_rw(1, 0x2000, 0x2fff, MORE));
    assert!(!machine.writes(EP, 0x2000));
}

#[test]
fn memory_cannot_come_where_an_untranslated_endpoint_has_a_reserved_region() {
    let reserved = ReservedRegion {
        first: MORE,
        last: MORE,
        kind: ReservedKind::Reserved,
    };
    let endpoint = EndpointConfig {
        id: 77,
        reserved: vec![reserved],
    };
    let mut machine = Machine::usual();
    machine.iommu.add_endpoint(endpoint.clone()).unwrap();
    let more = with_more(&machine.ram);
    let refused = machine.iommu.set_memory(Arc::clone(&more)).unwrap_err();
    assert_eq!(refused, ConfigError::ReservedRam(77));
    let _ = machine.iommu.remove_endpoint(77).unwrap();
    assert!(machine.iommu.set_memory(more).unwrap().is_over());
    let refused = machine.iommu.add_endpoint(endpoint).unwrap_err();
    assert_eq!(refused, ConfigError::ReservedRam(77).into());
}

fn config_of(ids: &[u32]) -> VirtioIommuConfig {
    let mut config = VirtioIommuConfig::new(ids.iter().copied().map(EndpointConfig::new));
    config.max_endpoints = 4;
    config
}

proptest! {
    /// After any plugging, a state is one that a new device of the same endpoints takes, and on
    /// both each endpoint meets the same.
    #[test]
    fn what_was_plugged_is_saved(steps in prop::collection::vec((0u32..6, 0u32..6), 1..40)) {
        let mut machine = Machine::active(config_of(&[0]));
        for (what, id) in steps {
            let there = machine.iommu.space(id).is_some();
            match what {
                0 | 1 => {
                    let full = machine.iommu.config().endpoints.len() == 4;
                    let added = machine.iommu.add_endpoint(EndpointConfig::new(id));
                    prop_assert_eq!(added.is_ok(), !there && !full);
                }
                2 => prop_assert_eq!(machine.iommu.remove_endpoint(id).is_ok(), there),
                3 => {
                    let flags = if id == 5 { attach_flag::BYPASS } else { 0 };
                    machine.status(attach_with(id, id, flags, 0));
                }
                4 => { machine.status(map_rw(id, 0, 0xfff, RAM + u64::from(id) * 0x1000)); }
                _ => { machine.status(detach(id, id)); }
            }
        }
        let saved = machine.iommu.save();
        let ids: Vec<u32> = saved.endpoints.iter().map(|endpoint| endpoint.id).collect();
        let mut other = Machine::new(config_of(&ids));
        other.iommu.restore(&saved).unwrap();
        prop_assert_eq!(other.iommu.save(), saved);
        for id in ids {
            for iova in [0, RAM] {
                let marks = |machine: &Machine| machine.writes(id, iova);
                prop_assert_eq!(marks(&machine), marks(&other));
            }
        }
    }
}
