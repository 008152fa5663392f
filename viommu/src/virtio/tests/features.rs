//! Feature bits, the configuration space, initialisation (5.13.3 to 5.13.5), and bypass.

use super::harness::*;
use crate::virtio::spec::*;
use crate::virtio::{ConfigError, EndpointConfig, ReservedKind, ReservedRegion, VirtioIommuConfig};

fn all_but(mask: u64) -> Machine {
    let mut machine = Machine::new(config());
    let features = machine.iommu.offered_features() & !mask;
    machine.iommu.activate(features).unwrap();
    machine
}

#[test]
fn map_unmap_should_be_offered() {
    let machine = Machine::new(VirtioIommuConfig::new([]));
    assert_ne!(machine.iommu.offered_features() & feature::MAP_UNMAP, 0);
}

#[test]
fn bypass_should_not_be_offered_by_new_devices() {
    let config = VirtioIommuConfig::new([]);
    assert_eq!(config.features(), feature::ALL & !feature::BYPASS);
}

#[test]
fn both_bypass_features_should_not_be_offered() {
    let mut config = config();
    config.bypass = true;
    assert_eq!(config.check(), Err(ConfigError::Bypass));
    config.bypass_config = None;
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn each_feature_is_optional_and_its_fields_go_with_it() {
    let mut config = config();
    config.page_size_mask = 0x1000;
    config.input_range = None;
    config.domain_range = None;
    config.map_unmap = false;
    config.bypass_config = None;
    config.probe_size = None;
    config.mmio = false;
    let machine = Machine::new(config);
    assert_eq!(machine.iommu.offered_features(), 0);
    let mut expected = [0; 40];
    expected[1] = 0x10;
    assert_eq!(machine.iommu.config_space(), expected);
}

#[test]
fn the_configuration_space_is_laid_out_as_specified() {
    let mut config = config();
    config.page_size_mask = 0x4020_1000;
    config.input_range = Some((0x1000, 0xffff_ffff_ffff));
    config.domain_range = Some((1, 0x1234_5678));
    config.bypass_config = Some(true);
    let space = Machine::new(config).iommu.config_space();
    let word = |at: usize| u64::from_le_bytes(space[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), 0x4020_1000);
    assert_eq!((word(8), word(16)), (0x1000, 0xffff_ffff_ffff));
    assert_eq!(word(24), 0x1234_5678_0000_0001);
    assert_eq!(word(32), 0x1_0000_0200, "probe_size, bypass and padding");
}

#[test]
fn features_that_are_not_offered_are_refused() {
    let mut machine = Machine::new(config());
    let error = machine.iommu.activate(feature::BYPASS).unwrap_err();
    assert_eq!(error.accepted, feature::BYPASS);
    assert_eq!(machine.iommu.save().features, 0);
    // Bits of the transport are none of the device's business.
    machine.iommu.activate(1 << 32 | feature::MMIO).unwrap();
    assert_eq!(machine.iommu.save().features, feature::MMIO);
}

#[test]
fn page_size_mask_must_have_a_bit_set() {
    let mut config = config();
    config.page_size_mask = 0;
    assert_eq!(config.check(), Err(ConfigError::PageSizes));
}

#[test]
fn page_size_mask_may_have_more_bits_and_the_lowest_is_the_granule() {
    let mut machine = Machine::active_with(|config| config.page_size_mask = 0x20_1000);
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
    machine.refused(map_rw(1, 0x2000, 0x27ff, RAM), Status::Range);
}

#[test]
fn bypass_may_be_1_at_first() {
    let mut config = config();
    config.bypass_config = Some(true);
    // Even if the driver does not accept the feature.
    let mut machine = Machine::new(config);
    assert!(machine.reads(EP, RAM));
    machine.iommu.activate(feature::MAP_UNMAP).unwrap();
    assert!(machine.reads(EP, RAM));
    machine.ok(attach(1, EP));
    assert!(!machine.reads(EP, RAM));
    machine.ok(detach(1, EP));
    assert!(machine.reads(EP, RAM));
}

#[test]
fn bypass_should_not_change_on_device_reset() {
    let mut machine = Machine::usual();
    machine.iommu.write_config(36, &[1]);
    machine.iommu.reset();
    assert_eq!(machine.iommu.config_space()[36], 1);
    assert!(machine.reads(EP, RAM));
}

#[test]
fn bypass_should_be_restored_on_system_reset() {
    let mut machine = Machine::usual();
    machine.iommu.write_config(36, &[1]);
    machine.iommu.system_reset();
    assert_eq!(machine.iommu.config_space()[36], 0);
    assert!(!machine.reads(EP, RAM));
}

#[test]
fn bypass_must_not_be_other_than_0_or_1() {
    let mut machine = Machine::usual();
    for value in [2, 0x80, 0xff] {
        machine.iommu.write_config(36, &[value]);
        assert_eq!(machine.iommu.config_space()[36], 0);
    }
    machine.iommu.write_config(36, &[1]);
    machine.iommu.write_config(36, &[3]);
    assert_eq!(machine.iommu.config_space()[36], 1);
}

#[test]
fn bypass_is_the_only_field_that_can_be_written_and_only_if_negotiated() {
    let mut machine = Machine::usual();
    let before = machine.iommu.config_space();
    for (offset, data) in [
        (0u64, &[0xff; 8][..]),
        (0, &[0xff; 36]),
        (37, &[1; 3]),
        (40, &[1]),
        (u64::MAX, &[1]),
        (36, &[]),
    ] {
        machine.iommu.write_config(offset, data);
        assert_eq!(machine.iommu.config_space(), before, "{offset}");
    }
    // A word that begins before it and holds it.
    machine
        .iommu
        .write_config(32, &[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    assert_eq!(machine.iommu.config_space()[36], 1);
    assert_eq!(machine.iommu.config_space()[..36], before[..36]);

    let mut machine = all_but(feature::BYPASS_CONFIG);
    machine.iommu.write_config(36, &[1]);
    assert_eq!(machine.iommu.config_space()[36], 0);
}

#[test]
fn bypass_is_switched_at_run_time() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, OTHER));
    assert!(!machine.reads(EP, RAM));
    machine.iommu.write_config(36, &[1]);
    assert!(machine.reads(EP, RAM) && machine.writes(EP, RAM + 0x8000));
    assert!(!machine.reads(OTHER, RAM), "it is attached");
    machine.iommu.write_config(36, &[0]);
    assert!(!machine.reads(EP, RAM));
}

#[test]
fn the_old_bypass_feature_counts_once_it_is_negotiated() {
    let mut config = config();
    config.bypass_config = None;
    config.bypass = true;
    let mut machine = Machine::new(config);
    assert!(!machine.reads(EP, RAM));
    let offered = machine.iommu.offered_features();
    machine.iommu.activate(offered & !feature::BYPASS).unwrap();
    assert!(!machine.reads(EP, RAM));
    machine.iommu.activate(offered).unwrap();
    assert!(machine.reads(EP, RAM));
    machine.refused(attach_with(1, EP, attach_flag::BYPASS, 0), Status::Inval);
    machine.iommu.reset();
    assert!(!machine.reads(EP, RAM));
}

#[test]
fn a_reset_detaches_everything() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(attach_with(2, OTHER, attach_flag::BYPASS, 0));
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
    assert!(machine.reads(EP, 0x1000) && machine.reads(OTHER, RAM));
    machine.iommu.reset();
    machine.requests.set_up();
    assert!(!machine.reads(EP, 0x1000) && !machine.reads(OTHER, RAM));
    assert!(machine.iommu.domains().is_empty());
    assert_eq!(
        (machine.iommu.mappings(), machine.iommu.domain_of(EP)),
        (0, None)
    );
    let offered = machine.iommu.offered_features();
    machine.iommu.activate(offered).unwrap();
    machine.ok(attach(1, EP));
    assert!(!machine.reads(EP, 0x1000), "domain 1 is a new one");
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
    assert!(machine.reads(EP, 0x1000));
}

#[test]
fn requests_of_features_that_are_not_negotiated_are_not_recognised() {
    let mut machine = all_but(feature::MAP_UNMAP);
    machine.ok(attach(1, EP));
    let out = Part::Out(4);
    machine.unanswered(&[Part::In(map_rw(1, 0x1000, 0x1fff, RAM)), out.clone()]);
    machine.unanswered(&[Part::In(unmap(1, 0x1000, 0x1fff)), out]);
    let mut machine = all_but(feature::PROBE);
    machine.unanswered(&[Part::In(probe(EP)), Part::Out(516)]);
}

#[test]
fn flags_of_features_that_are_not_negotiated_are_refused() {
    let mut machine = all_but(feature::MMIO);
    machine.ok(attach(1, EP));
    machine.refused(map(1, 0, 0xfff, RAM, map_flag::MMIO | 3), Status::Inval);
    let mut machine = all_but(feature::BYPASS_CONFIG);
    machine.refused(attach_with(1, EP, attach_flag::BYPASS, 0), Status::Inval);
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map(1, 0, 0xfff, RAM, map_flag::MMIO | 3));
    assert!(machine.writes(EP, 0x10));
}

#[test]
fn configurations_that_break_rules_are_refused() {
    let reserved = |regions: &[(u64, u64, ReservedKind)]| {
        let mut endpoint = EndpointConfig::new(EP);
        endpoint.reserved = regions
            .iter()
            .map(|&(first, last, kind)| ReservedRegion { first, last, kind })
            .collect();
        VirtioIommuConfig::new([endpoint])
    };
    use ReservedKind::{Msi, Reserved};
    let two = VirtioIommuConfig::new([EP, EP].map(EndpointConfig::new));
    assert_eq!(two.check(), Err(ConfigError::Twice(EP)));
    let empty = reserved(&[(1, 0, Reserved)]).check();
    assert!(matches!(empty, Err(ConfigError::Empty { .. })));
    let many: Vec<_> = (0..22).map(|n| (n, n, Reserved)).collect();
    assert_eq!(reserved(&many[..21]).check(), Ok(()));
    let full = ConfigError::ReservedCount { id: EP, room: 512 };
    assert_eq!(reserved(&many).check(), Err(full));
    let mut backwards = reserved(&[(0, 0, Msi)]);
    backwards.input_range = Some((1, 0));
    assert!(matches!(backwards.check(), Err(ConfigError::Empty { .. })));
    let mut crowd = VirtioIommuConfig::new((0..4097).map(EndpointConfig::new));
    let too_many = ConfigError::Endpoints {
        count: 4097,
        max_endpoints: 4096,
    };
    assert_eq!(crowd.check(), Err(too_many.clone()));
    assert!(too_many.to_string().contains("`max_endpoints`"));
    crowd.max_endpoints = 4097;
    assert_eq!(crowd.check(), Ok(()));
    crowd.max_endpoints = usize::MAX;
    assert_eq!(crowd.check(), Err(ConfigError::MaxEndpoints(usize::MAX)));
    let mut long = reserved(&[]);
    long.probe_size = Some(4097);
    assert_eq!(long.check(), Err(ConfigError::ProbeSize));
}
