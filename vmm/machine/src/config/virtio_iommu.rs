//! What a user may say about a virtio-iommu.

use serde::{Deserialize, Serialize};
use viommu::virtio::{
    DEFAULT_MAX_MAPPINGS, EndpointConfig, ReservedKind, ReservedRegion, VirtioIommuConfig,
};
use vmm_base::TextError;

use super::ByteSize;

/// The most mappings that can be asked for: some 1.6 GiB of host memory.
const MAX_MAPPINGS: usize = 1 << 24;
/// The most reserved regions that can be named, all endpoints together.
const MAX_RESERVED: usize = 1 << 12;

/// An optional feature of the device (5.13.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VirtioIommuFeature {
    /// INPUT_RANGE.
    InputRange,
    /// DOMAIN_RANGE.
    DomainRange,
    /// MAP_UNMAP.
    MapUnmap,
    /// BYPASS, which new devices should not offer.
    Bypass,
    /// BYPASS_CONFIG.
    BypassConfig,
    /// PROBE.
    Probe,
    /// MMIO.
    Mmio,
}

/// A virtio-iommu. Endpoints follow from the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioIommuOptions {
    /// What is offered; all but BYPASS by default.
    pub features: Vec<VirtioIommuFeature>,
    /// Sizes of pages, powers of two; the least is the granule. 4K and all that are greater by
    /// default.
    pub page_sizes: Vec<ByteSize>,
    /// First and last IOVA that can be mapped, if INPUT_RANGE is offered.
    pub input_range: (ByteSize, ByteSize),
    /// First and last domain number, if DOMAIN_RANGE is offered.
    pub domain_range: (u32, u32),
    /// Size of the list of properties in bytes, if PROBE is offered.
    pub probe_size: u32,
    /// What the field `bypass` is at first, if BYPASS_CONFIG is offered: whether endpoints that are
    /// attached to nothing reach memory untranslated.
    pub bypass: bool,
    /// Most mappings of all domains together.
    pub max_mappings: usize,
    /// Whether the driver may put requests into tables of descriptors apart from the ring
    /// (VIRTIO_RING_F_INDIRECT_DESC). Linux allocates such a table for each request.
    pub indirect: bool,
    /// IOVAs that cannot be mapped.
    pub reserved: Vec<ReservedMemory>,
}

/// IOVAs that cannot be mapped (property RESV_MEM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReservedMemory {
    /// The endpoint that it concerns; all if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<u32>,
    /// First IOVA.
    pub first: ByteSize,
    /// Last IOVA.
    pub last: ByteSize,
    /// Whether it is the doorbell of message-signalled interrupts.
    #[serde(default)]
    pub msi: bool,
}

impl Default for VirtioIommuOptions {
    fn default() -> Self {
        // The library's defaults, so that they are written down once.
        let device = VirtioIommuConfig::new([]);
        let (first, last) = device.input_range.unwrap_or((0, u64::MAX));
        Self {
            features: vec![
                VirtioIommuFeature::InputRange,
                VirtioIommuFeature::DomainRange,
                VirtioIommuFeature::MapUnmap,
                VirtioIommuFeature::BypassConfig,
                VirtioIommuFeature::Probe,
                VirtioIommuFeature::Mmio,
            ],
            page_sizes: Vec::new(),
            input_range: (ByteSize(first), ByteSize(last)),
            domain_range: device.domain_range.unwrap_or((0, u32::MAX)),
            probe_size: device.probe_size.unwrap_or(0),
            bypass: device.bypass_config.unwrap_or(true),
            max_mappings: DEFAULT_MAX_MAPPINGS,
            indirect: true,
            reserved: Vec::new(),
        }
    }
}

impl VirtioIommuOptions {
    /// Checks what the device itself cannot check.
    ///
    /// # Errors
    /// The first thing that is wrong, as the end of a sentence.
    pub(super) fn check(&self) -> Result<(), TextError> {
        if let Some(size) = self.page_sizes.iter().find(|s| !s.0.is_power_of_two()) {
            return Err(format!("a page size of {size} is no power of two").into());
        }
        if self.max_mappings == 0 || self.max_mappings > MAX_MAPPINGS {
            let most = self.max_mappings;
            return Err(format!("it can hold 1 to {MAX_MAPPINGS} mappings, not {most}").into());
        }
        if self.reserved.len() > MAX_RESERVED {
            let regions = self.reserved.len();
            return Err(format!("{regions} reserved regions are more than {MAX_RESERVED}").into());
        }
        Ok(())
    }

    /// Returns the device with these endpoints.
    pub(super) fn device(&self, endpoints: impl IntoIterator<Item = u32>) -> VirtioIommuConfig {
        let offered = |feature| self.features.contains(&feature);
        let endpoint = |id| EndpointConfig::new(id).with_reserved(self.reserved_of(id));
        let endpoints = endpoints.into_iter().map(endpoint);
        let mut device = VirtioIommuConfig::new(endpoints);
        if !self.page_sizes.is_empty() {
            // Each size is one bit, as `check` demands powers of two.
            device.page_size_mask = self.page_sizes.iter().fold(0, |mask, size| mask | size.0);
        }
        // The library offers a feature if its field is there.
        let range = (self.input_range.0.0, self.input_range.1.0);
        device.input_range = offered(VirtioIommuFeature::InputRange).then_some(range);
        device.domain_range = offered(VirtioIommuFeature::DomainRange).then_some(self.domain_range);
        device.map_unmap = offered(VirtioIommuFeature::MapUnmap);
        device.bypass = offered(VirtioIommuFeature::Bypass);
        device.bypass_config = offered(VirtioIommuFeature::BypassConfig).then_some(self.bypass);
        device.probe_size = offered(VirtioIommuFeature::Probe).then_some(self.probe_size);
        device.mmio = offered(VirtioIommuFeature::Mmio);
        device.max_mappings = self.max_mappings;
        device
    }

    fn reserved_of(&self, endpoint: u32) -> Vec<ReservedRegion> {
        let concerns = |r: &&ReservedMemory| r.endpoint.is_none_or(|only| only == endpoint);
        let region = |reserved: &ReservedMemory| ReservedRegion {
            first: reserved.first.0,
            last: reserved.last.0,
            kind: if reserved.msi {
                ReservedKind::Msi
            } else {
                ReservedKind::Reserved
            },
        };
        self.reserved.iter().filter(concerns).map(region).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, IommuConfig};
    use super::*;

    fn config(iommu: &str) -> Config {
        Config {
            kernel: "k".into(),
            iommus: vec![toml::from_str(iommu).unwrap()],
            disks: vec!["a,iommu=viommu0:9".parse().unwrap()],
            ..Config::default()
        }
    }

    #[test]
    fn by_default_it_is_the_device_of_the_library() {
        let options = VirtioIommuOptions::default();
        let (ours, theirs) = (options.device([]), VirtioIommuConfig::new([]));
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        options.check().unwrap();
    }

    #[test]
    fn everything_can_be_said_in_toml() {
        let config = config(
            "model = 'virtio'\n[virtio]\nfeatures = ['map-unmap', 'probe', 'bypass']\npage-sizes = ['64K', '2M']\n\
             probe-size = 64\nmax-mappings = 8\nindirect = false\n\
             [[virtio.reserved]]\nfirst = 0x1000\nlast = 0x1fff\n\
             [[virtio.reserved]]\nendpoint = 9\nfirst = '0x8000000'\nlast = '0x8000fff'\nmsi = true\n",
        );
        config.validate().unwrap();
        let device = config.virtio_iommu(0).unwrap();
        assert_eq!(device.page_size_mask, 0x21_0000);
        assert_eq!((device.input_range, device.domain_range), (None, None));
        assert_eq!((device.bypass, device.bypass_config), (true, None));
        assert_eq!((device.probe_size, device.mmio), (Some(64), false));
        assert_eq!((device.map_unmap, device.max_mappings), (true, 8));
        let ids: Vec<(u32, usize)> = device
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.id, endpoint.reserved.len()))
            .collect();
        // The entropy device is at the lowest number that is free.
        assert_eq!(ids, [(0, 1), (9, 2)]);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn the_command_line_has_bypass_and_indirect() {
        let said = |text: &str| text.parse::<IommuConfig>().unwrap().virtio.unwrap();
        let options = said("virtio,bypass=false,name=a");
        assert_eq!((options.bypass, options.indirect), (false, true));
        let options = said("virtio,indirect=false");
        assert_eq!((options.bypass, options.indirect), (true, false));
        for wrong in ["virtio,bypass=no", "virtio,indirect"] {
            assert!(wrong.parse::<IommuConfig>().is_err());
        }
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let cases = [
            ("model = 'ipmmu'\nname = 'viommu0'\n[virtio]", "but is none"),
            (
                "model = 'virtio'\nvirtio = { page-sizes = [3000] }",
                "no power",
            ),
            (
                "model = 'virtio'\nvirtio = { max-mappings = 0 }",
                "1 to 16777216",
            ),
            (
                "model = 'virtio'\nvirtio = { input-range = [2, 1] }",
                "ends before",
            ),
            (
                "model = 'virtio'\nvirtio = { features = ['bypass', 'bypass-config'] }",
                "both",
            ),
            (
                "model = 'virtio'\nvirtio = { probe-size = 5000 }",
                "at most 4096",
            ),
        ];
        for (iommu, words) in cases {
            let error = config(iommu).validate().unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        let wrong = toml::from_str::<IommuConfig>("model = 'virtio'\nvirtio = { speed = 9 }");
        assert!(wrong.is_err());
    }
}
