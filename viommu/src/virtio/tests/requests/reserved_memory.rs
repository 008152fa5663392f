//! Property RESV_MEM (5.13.6.8).

use super::*;
use crate::virtio::ConfigError;

#[test]
fn reserved_should_be_zero() {
    let mut machine = reserved();
    let (_, answer) = machine.exchange(&[Part::In(probe(EP)), Part::Out(516)]);
    assert_eq!((&answer[5..8], &answer[29..32]), (&[0; 3][..], &[0; 3][..]));
}

#[test]
fn more_than_one_msi_region_should_not_be_presented() {
    let mut config = reserved_config();
    config.endpoints[0].reserved[1].kind = ReservedKind::Msi;
    assert_eq!(config.check(), Err(ConfigError::TwoMsi(EP)));
}

#[test]
fn regions_that_overlap_should_not_be_presented() {
    let mut config = reserved_config();
    config.endpoints[0].reserved[1].last = 0x800_0000;
    assert_eq!(config.check(), Err(ConfigError::ReservedOverlap(EP)));
}

#[test]
fn a_map_that_overlaps_should_be_rejected() {
    let mut machine = reserved();
    machine.ok(attach(1, EP));
    machine.ok(attach(1, OTHER));
    for (first, last) in [
        (0x1000, 0x1fff),
        (0x2000, 0x2fff),
        (0, 0x1fff),
        (0x2000, 0x3fff),
        (0x80f_f000, 0x810_0fff),
        (0, u64::MAX),
    ] {
        machine.refused(map_rw(1, first, last, 0), Status::Inval);
    }
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    machine.ok(map_rw(1, 0x3000, 0x7ff_ffff, RAM));
    // With the endpoint, its regions leave the domain.
    machine.ok(detach(1, EP));
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
}

#[test]
fn accesses_to_regions_should_affect_nobody_else() {
    // In a domain nothing can be mapped there; untranslated accesses must find nothing there.
    let mut machine = reserved();
    machine.ok(attach(1, EP));
    assert!(!machine.writes(EP, 0x1000) && !machine.writes(EP, 0x800_0000));
    machine.ok(attach_with(2, EP, attach_flag::BYPASS, 0));
    assert!(!machine.writes(EP, 0x1000) && machine.writes(EP, RAM));
    let mut config = reserved_config();
    config.endpoints.push(EndpointConfig {
        id: 1,
        reserved: vec![ReservedRegion {
            first: RAM + RAM_SIZE - 1,
            last: u64::MAX,
            kind: ReservedKind::Reserved,
        }],
    });
    let ram = std::sync::Arc::clone(&Machine::usual().ram);
    let new = |config: &VirtioIommuConfig| {
        crate::virtio::VirtioIommu::new(
            std::sync::Arc::clone(&ram),
            config.clone(),
            Box::new(|| {}),
            crate::virtio::Observers::default(),
        )
        .err()
    };
    assert_eq!(new(&config), Some(ConfigError::ReservedRam(1)));
    config.bypass_config = None;
    assert_eq!(new(&config), None, "nothing is ever untranslated");
}
