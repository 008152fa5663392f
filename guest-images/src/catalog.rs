//! The images on offer.

use crate::image_spec::LPAE;
use crate::recipes;
use crate::{Error, SourceEdit};

pub use crate::image_spec::{Architecture, Build, ImageSpec, Origin, OwnModule};

/// Packages that depend on a release's current kernel, each with what it is for.
const ARMMP: (&str, Architecture) = ("linux-image-armmp", Architecture::Armhf);
const ARMMP_LPAE: (&str, Architecture) = (LPAE, Architecture::Armhf);
const ARM64: (&str, Architecture) = ("linux-image-arm64", Architecture::Arm64);

/// Returns a stock image's entry.
const fn stock(
    name: &'static str,
    aliases: &'static [&'static str],
    description: &'static str,
    kernel: &'static str,
    suite: &'static str,
    (metapackage, architecture): (&'static str, Architecture),
) -> ImageSpec {
    ImageSpec {
        name,
        aliases,
        description,
        kernel,
        architecture,
        origin: Origin::Stock { suite, metapackage },
        own_modules: &[],
        late_modules: &[],
    }
}

/// Lets the virtio-iommu driver be configured for 32-bit ARM; no code is touched.
const WIDEN_VIRTIO_IOMMU: SourceEdit = SourceEdit {
    name: "Kconfig dependency widened",
    path: "drivers/iommu/Kconfig",
    section: "config VIRTIO_IOMMU",
    old: "\tdepends on (ARM64 || X86)\n",
    new: "\tdepends on (ARM || ARM64 || X86)\n",
};

/// Lets dmabounce be configured for the generic virtual platform of ARMv7; no code is touched.
const WIDEN_DMABOUNCE: SourceEdit = SourceEdit {
    name: "Kconfig widened",
    path: "arch/arm/Kconfig",
    section: "config ARCH_VIRT",
    old: "\tselect ARM_PSCI\n",
    new: "\tselect ARM_PSCI\n\tselect DMABOUNCE\n",
};

/// Registers devices with dmabounce, which no platform code of ARMv7 does.
const BOUNCE_DEVICES: OwnModule = OwnModule {
    name: "bounce_devices",
    source: recipes::BOUNCE_DEVICES,
};

/// Attaches devices to mappings of its own making, as no driver does that could be bound here.
const OWN_MAPPING: OwnModule = OwnModule {
    name: "own_mapping",
    source: recipes::OWN_MAPPING,
};

/// Returns the entry of a stock kernel with that module, whose guest decides when devices get their
/// driver.
const fn own_mapping(
    name: &'static str,
    description: &'static str,
    kernel: &'static str,
    suite: &'static str,
) -> ImageSpec {
    ImageSpec {
        own_modules: &[OWN_MAPPING],
        late_modules: &[OWN_MAPPING.name, "virtio_mmio"],
        ..stock(name, &[], description, kernel, suite, ARMMP)
    }
}

/// Returns an image's entry that is compiled here.
const fn built(
    name: &'static str,
    description: &'static str,
    kernel: &'static str,
    (suite, source): (&'static str, &'static str),
    addition: &'static str,
    edits: &'static [SourceEdit],
) -> ImageSpec {
    ImageSpec {
        name,
        aliases: &[],
        description,
        kernel,
        architecture: Architecture::Armhf,
        origin: Origin::Built(Build {
            suite,
            source,
            addition,
            edits,
            device_trees: &[],
        }),
        own_modules: &[],
        late_modules: &[],
    }
}

/// Releases, each with the package of its kernel's source.
const BULLSEYE: (&str, &str) = ("bullseye", "linux-source-5.10");
const BOOKWORM: (&str, &str) = ("bookworm", "linux-source-6.1");
const TRIXIE: (&str, &str) = ("trixie", "linux-source-6.12");
const FORKY: (&str, &str) = ("forky", "linux-source-7.2");

static CATALOG: [ImageSpec; 21] = [
    ImageSpec {
        name: "ipmmu",
        aliases: &[],
        description: "a small 6.1 kernel with the IPMMU driver, DMA controllers, BTF and kprobes",
        kernel: "6.1",
        architecture: Architecture::Armhf,
        origin: Origin::Built(Build {
            suite: BOOKWORM.0,
            source: BOOKWORM.1,
            addition: recipes::KOELSCH_CONFIG,
            edits: &[],
            device_trees: &["r8a7791-koelsch.dtb"],
        }),
        own_modules: &[],
        late_modules: &[],
    },
    built(
        "virtio-iommu",
        "the ipmmu kernel with the virtio-iommu driver, whose Kconfig dependency is widened to ARM",
        "6.1",
        BOOKWORM,
        recipes::VIRTIO_IOMMU_CONFIG,
        &[WIDEN_VIRTIO_IOMMU],
    ),
    built(
        "ipmmu-5.10",
        "the like of ipmmu with Debian 11's kernel",
        "5.10",
        BULLSEYE,
        recipes::BEFORE_5_18_CONFIG,
        &[],
    ),
    built(
        "ipmmu-6.12",
        "the like of ipmmu with Debian 13's kernel",
        "6.12",
        TRIXIE,
        recipes::SINCE_6_11_CONFIG,
        &[],
    ),
    built(
        "ipmmu-7.2",
        "the like of ipmmu with Debian 14's kernel",
        "7.2",
        FORKY,
        recipes::SINCE_6_11_CONFIG,
        &[],
    ),
    built(
        "virtio-iommu-6.12",
        "the like of virtio-iommu with Debian 13's kernel, Kconfig dependency widened likewise",
        "6.12",
        TRIXIE,
        recipes::VIRTIO_IOMMU_SINCE_6_11_CONFIG,
        &[WIDEN_VIRTIO_IOMMU],
    ),
    ImageSpec {
        name: "dmabounce-5.10",
        aliases: &[],
        description: "the ipmmu-5.10 kernel with dmabounce: Kconfig widened, and a test module of ours",
        kernel: "5.10",
        architecture: Architecture::Armhf,
        origin: Origin::Built(Build {
            suite: BULLSEYE.0,
            source: BULLSEYE.1,
            addition: recipes::DMABOUNCE_CONFIG,
            edits: &[WIDEN_DMABOUNCE],
            device_trees: &[],
        }),
        own_modules: &[BOUNCE_DEVICES],
        late_modules: &[BOUNCE_DEVICES.name, "virtio_mmio"],
    },
    stock(
        "debian-armmp-6.1",
        &["debian-armmp"],
        "Debian 12's stock kernel",
        "6.1",
        "bookworm",
        ARMMP,
    ),
    stock(
        "debian-armmp-lpae-6.1",
        &["debian-armmp-lpae"],
        "Debian 12's stock LPAE kernel",
        "6.1",
        "bookworm",
        ARMMP_LPAE,
    ),
    stock(
        "debian-armmp-5.10",
        &[],
        "Debian 11's stock kernel",
        "5.10",
        "bullseye",
        ARMMP,
    ),
    stock(
        "debian-armmp-lpae-5.10",
        &[],
        "Debian 11's stock LPAE kernel",
        "5.10",
        "bullseye",
        ARMMP_LPAE,
    ),
    stock(
        "debian-armmp-6.12",
        &[],
        "Debian 13's stock kernel",
        "6.12",
        "trixie",
        ARMMP,
    ),
    stock(
        "debian-armmp-lpae-6.12",
        &[],
        "Debian 13's stock LPAE kernel",
        "6.12",
        "trixie",
        ARMMP_LPAE,
    ),
    stock(
        "debian-armmp-7.2",
        &[],
        "Debian 14's stock kernel",
        "7.2",
        "forky",
        ARMMP,
    ),
    stock(
        "debian-armmp-lpae-7.2",
        &[],
        "Debian 14's stock LPAE kernel",
        "7.2",
        "forky",
        ARMMP_LPAE,
    ),
    own_mapping(
        "own-mapping-5.10",
        "Debian 11's stock kernel, and a test module of ours that attaches devices to mappings",
        "5.10",
        "bullseye",
    ),
    own_mapping(
        "own-mapping-6.1",
        "the same with Debian 12's kernel",
        "6.1",
        "bookworm",
    ),
    own_mapping(
        "own-mapping-6.12",
        "the same with Debian 13's kernel",
        "6.12",
        "trixie",
    ),
    own_mapping(
        "own-mapping-7.2",
        "the same with Debian 14's kernel",
        "7.2",
        "forky",
    ),
    stock(
        "debian-arm64-6.1",
        &[],
        "Debian 12's stock kernel of 64-bit ARM, for KVM",
        "6.1",
        "bookworm",
        ARM64,
    ),
    stock(
        "debian-arm64-6.12",
        &["debian-arm64"],
        "Debian 13's stock kernel of 64-bit ARM, for KVM",
        "6.12",
        "trixie",
        ARM64,
    ),
];

/// Returns all images on offer, in the order in which a list shows them.
#[must_use]
pub fn all() -> &'static [ImageSpec] {
    &CATALOG
}

/// Returns the image of that name or alias.
///
/// # Errors
/// [`Error::UnknownImage`], which lists the names there are.
pub fn find(name: &str) -> Result<&'static ImageSpec, Error> {
    CATALOG
        .iter()
        .find(|spec| spec.name == name || spec.aliases.contains(&name))
        .ok_or_else(|| Error::UnknownImage {
            name: name.to_owned(),
            known: CATALOG
                .iter()
                .flat_map(|spec| spec.aliases.iter().chain([&spec.name]))
                .copied()
                .collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_found() {
        let mut names = BTreeSet::new();
        for spec in all() {
            for name in spec.aliases.iter().chain([&spec.name]) {
                assert!(names.insert(*name), "{name} is there twice");
                assert_eq!(find(name).unwrap(), spec);
            }
        }
    }

    #[test]
    fn an_edited_source_is_named_as_such() {
        for spec in all() {
            let Origin::Built(Build { edits, .. }) = spec.origin else {
                continue;
            };
            for edit in edits {
                assert!(spec.how().contains(edit.name), "{}", spec.how());
            }
            assert_eq!(spec.how().contains("widened"), !edits.is_empty());
            assert_eq!(spec.description.contains("widened"), !edits.is_empty());
        }
        assert!(
            find("virtio-iommu")
                .unwrap()
                .how()
                .ends_with(", Kconfig dependency widened")
        );
        let bounce = find("dmabounce-5.10").unwrap();
        assert!(
            bounce
                .how()
                .ends_with(", Kconfig widened, test module of ours")
        );
        let own = find("own-mapping-6.1").unwrap();
        assert_eq!(
            own.how(),
            "linux-image-armmp of Debian bookworm, test module of ours"
        );
    }

    #[test]
    fn unknown_name_lists_aliases_too() {
        let sentence = find("debian").unwrap_err().to_string();
        assert!(sentence.contains("no image named \"debian\""), "{sentence}");
        for name in ["ipmmu", "debian-armmp,", "debian-armmp-lpae-7.2"] {
            assert!(sentence.contains(name), "{sentence}");
        }
    }

    #[test]
    fn lpae_is_told_apart() {
        assert!(find("debian-armmp-lpae").unwrap().is_lpae());
        assert!(!find("debian-armmp").unwrap().is_lpae());
        assert!(!find("ipmmu").unwrap().is_lpae());
    }
}
