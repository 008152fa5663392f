//! The recipes: the texts in `recipes/`, embedded so that an installed program needs no checkout,
//! and what is fixed about the builds that use them.

use crate::blob::hash_texts;
use crate::image_spec::{Architecture, ImageSpec, Origin};

/// Raised when the way in which images are made changes in a manner that the recipe texts do not
/// show: images made by an older way are then made anew.
pub(crate) const FORMAT: u32 = 1;

/// Raised likewise for what concerns initial file systems alone.
pub(crate) const INITRAMFS_FORMAT: u32 = 2;

/// The guest's first process.
pub(crate) const INIT: &str = include_str!("../recipes/init");

/// What it does besides in stock kernels of 32-bit ARM, which have a driver that needs it, before
/// it loads modules.
pub(crate) const INIT_IOMMUS: &str = include_str!("../recipes/init-iommus");

/// Where [`INIT`] begins to load modules.
const INIT_MODULES: &str = "while read -r module; do\n";

/// Names of the modules that a stock kernel's initramfs loads; `#` starts a comment.
pub(crate) const MODULES: &str = include_str!("../recipes/modules");

/// The same for a stock kernel of 64-bit ARM.
pub(crate) const MODULES_ARM64: &str = include_str!("../recipes/modules-arm64");

/// The same for what a guest of Calxeda's ECX-2000 loads besides.
pub(crate) const MODULES_ECX_2000: &str = include_str!("../recipes/modules-ecx-2000");

/// Names of the modules that an initramfs carries for its guest to load when it wants; written like
/// [`MODULES`].
pub(crate) const LATE_MODULES: &str = include_str!("../recipes/late-modules");

/// What a guest does to install packages on a root disk.
pub(crate) const ROOT_DISK: &str = include_str!("../recipes/root-disk");

/// The configuration fragment that all compiled kernels share.
pub(crate) const IPMMU_CONFIG: &str = include_str!("../recipes/ipmmu.config");

/// What the `virtio-iommu` kernel adds to it.
pub(crate) const VIRTIO_IOMMU_CONFIG: &str = include_str!("../recipes/virtio-iommu.config");

/// What the `ipmmu` kernel adds to it.
pub(crate) const KOELSCH_CONFIG: &str = include_str!("../recipes/koelsch.config");

/// What kernels before 5.18 need besides.
pub(crate) const BEFORE_5_18_CONFIG: &str = include_str!("../recipes/ipmmu-before-5.18.config");

/// What the `dmabounce` kernel adds to it, with what its kernel needs besides.
pub(crate) const DMABOUNCE_CONFIG: &str = concat!(
    include_str!("../recipes/ipmmu-before-5.18.config"),
    include_str!("../recipes/dmabounce.config")
);

/// The module that registers devices with dmabounce.
pub(crate) const BOUNCE_DEVICES: &str = include_str!("../recipes/bounce_devices.c");

/// The module that attaches devices to mappings of its own making.
pub(crate) const OWN_MAPPING: &str = include_str!("../recipes/own_mapping.c");

/// What kernels since 6.11 need besides, or call otherwise.
pub(crate) const SINCE_6_11_CONFIG: &str = include_str!("../recipes/ipmmu-since-6.11.config");

/// The same for sources since 6.11.
pub(crate) const VIRTIO_IOMMU_SINCE_6_11_CONFIG: &str = concat!(
    include_str!("../recipes/ipmmu-since-6.11.config"),
    include_str!("../recipes/virtio-iommu.config")
);

/// Lines of `make`'s output that name a compiled, assembled, linked or archived file in a complete
/// build of a kernel. It only scales the progress bar.
pub(crate) const BUILD_STEPS: u64 = 1394;

/// Set for every kernel build, so that the same source, fragment and compiler give the same kernel.
pub(crate) const BUILD_ENVIRONMENT: [(&str, &str); 4] = [
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_USER", "viommu"),
    ("KBUILD_BUILD_HOST", "viommu"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// Settings on `make`'s command line for every kernel build. `pahole`, which writes the kernel's
/// types (BTF), is kept from working in parallel (`-j`): the order of types would differ from build
/// to build.
pub(crate) const BUILD_SETTINGS: [&str; 3] = [
    "ARCH=arm",
    "CROSS_COMPILE=arm-linux-gnueabihf-",
    "PAHOLE_FLAGS=$(filter-out -j,$(shell PAHOLE=$(PAHOLE) $(srctree)/scripts/pahole-flags.sh))",
];

/// Returns the hash of all that is the same for every kernel build.
pub(crate) fn build_manner() -> String {
    let format = FORMAT.to_string();
    let mut texts = vec![format.as_str()];
    texts.extend(BUILD_SETTINGS);
    texts.extend(
        BUILD_ENVIRONMENT
            .iter()
            .flat_map(|(name, value)| [*name, *value]),
    );
    hash_texts(texts)
}

/// Debian packages of the host, by what takes them.
pub(crate) const HOST_PACKAGES: &str = include_str!("../recipes/host-packages");

/// Where busybox comes from: the Debian release and the package. One release serves all images, so
/// that all guests have the same userspace.
pub(crate) const BUSYBOX: (&str, &str) = ("bookworm", "busybox-static");

/// Returns the whole configuration fragment of a compiled image's kernel: the shared lines, except
/// for options that the image's own lines set, and those.
pub(crate) fn fragment(image: &str, addition: &str) -> String {
    // Each option is set once, as the build demands that every line of the fragment has effect.
    let own: Vec<&str> = addition.lines().filter_map(option).collect();
    let shared: String = IPMMU_CONFIG
        .split_inclusive('\n')
        .filter(|line| option(line).is_none_or(|option| !own.contains(&option)))
        .collect();
    format!("{shared}\n{addition}\nCONFIG_LOCALVERSION=\"-{image}\"\n")
}

/// Returns the option that a line of a configuration sets, or says is not set.
pub(crate) fn option(line: &str) -> Option<&str> {
    let line = line.trim();
    let name = match line.strip_prefix("# ") {
        Some(comment) => comment.strip_suffix(" is not set")?,
        None => line.split_once('=')?.0,
    };
    name.starts_with("CONFIG_").then_some(name)
}

/// Returns the module names of a module recipe, in order.
pub(crate) fn module_names(recipe: &str) -> Vec<&str> {
    recipe
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Returns the hash of all that decides how an image's kernel is made, apart from the packages that
/// it is made from.
pub(crate) fn kernel_recipe(spec: &ImageSpec) -> String {
    let (format, manner, fragment);
    let mut texts = match spec.origin {
        Origin::Stock { suite, metapackage } => {
            format = FORMAT.to_string();
            vec![format.as_str(), suite, metapackage]
        }
        Origin::Built(build) => {
            manner = build_manner();
            fragment = self::fragment(spec.name, build.addition);
            let mut texts = vec![build.suite, build.source, &manner, &fragment];
            for edit in build.edits {
                // Without its name, which is for people and changes nothing of the kernel.
                texts.extend([edit.path, edit.section, edit.old, edit.new]);
            }
            texts.extend(build.device_trees);
            texts
        }
    };
    for module in spec.own_modules {
        texts.extend([module.name, module.source]);
    }
    hash_texts(texts)
}

/// Returns the guest's first process of an image. Images without a driver that needs
/// [`INIT_IOMMUS`] are spared it, so that their runs stay as they were.
pub(crate) fn init(spec: &ImageSpec) -> String {
    match (spec.needs_build(), spec.architecture) {
        (true, _) | (_, Architecture::Arm64) => INIT.to_owned(),
        (false, _) => INIT.replacen(INIT_MODULES, &format!("{INIT_IOMMUS}{INIT_MODULES}"), 1),
    }
}

/// Returns the list of modules that an image's guest loads.
pub(crate) fn module_recipe(spec: &ImageSpec) -> &'static str {
    match (spec.needs_build(), spec.architecture) {
        (true, _) => "",
        (false, Architecture::Arm64) => MODULES_ARM64,
        (false, _) => MODULES,
    }
}

/// Returns the names of the modules that an image's guest loads when it wants.
pub(crate) fn late_modules(spec: &ImageSpec) -> Vec<&'static str> {
    let mut names = module_names(LATE_MODULES);
    names.extend(spec.late_modules);
    names
}

/// Returns the hash of all that decides how an image's initial file system is made, apart from the
/// packages.
pub(crate) fn initramfs_recipe(spec: &ImageSpec) -> String {
    let modules = module_recipe(spec);
    let (suite, package) = BUSYBOX;
    let (format, initramfs_format) = (FORMAT.to_string(), INITRAMFS_FORMAT.to_string());
    let init = init(spec);
    let mut texts = vec![
        format.as_str(),
        initramfs_format.as_str(),
        &init,
        modules,
        LATE_MODULES,
        suite,
        package,
    ];
    texts.extend(spec.late_modules);
    hash_texts(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_recipe_skips_comments_and_blank_lines() {
        assert_eq!(module_names("# a\n\nb # c\n d\n"), ["b", "d"]);
        assert!(module_names(MODULES).contains(&"virtio_blk"));
    }

    #[test]
    fn stock_kernels_keep_iommus_on_before_they_load_modules() {
        for spec in crate::catalog::all() {
            let (init, stock) = (init(spec), !spec.needs_build());
            let stock = stock && spec.architecture != Architecture::Arm64;
            assert_eq!(init == INIT, !stock, "{}", spec.name);
            let (on, modules) = (init.find(INIT_IOMMUS), init.find(INIT_MODULES));
            assert_eq!(on.is_some(), stock, "{}", spec.name);
            assert!(on < modules, "{}", spec.name);
        }
    }

    /// The name that a kernel gives a module by default is its object's, so that the two recipes
    /// cannot drift apart.
    #[test]
    fn late_modules_are_compiled_as_modules() {
        let modules: Vec<_> = IPMMU_CONFIG
            .lines()
            .filter(|line| line.starts_with("CONFIG_") && line.ends_with("=m"))
            .collect();
        assert_eq!(modules, ["CONFIG_COMMON_CLK_AXI_CLKGEN=m"]);
        assert_eq!(module_names(LATE_MODULES), ["clk_axi_clkgen"]);
    }

    #[test]
    fn an_image_s_own_late_modules_are_compiled_and_change_its_recipe() {
        let bounce = crate::catalog::find("dmabounce-5.10").unwrap();
        let late = ["clk_axi_clkgen", "bounce_devices", "virtio_mmio"];
        assert_eq!(late_modules(bounce), late);
        assert!(DMABOUNCE_CONFIG.contains("\nCONFIG_VIRTIO_MMIO=m\n"));
        assert!(BOUNCE_DEVICES.contains("MODULE_LICENSE(\"Dual BSD/GPL\")"));
        let plain = crate::catalog::find("ipmmu-5.10").unwrap();
        assert_eq!(late_modules(plain), ["clk_axi_clkgen"]);
        assert_ne!(initramfs_recipe(bounce), initramfs_recipe(plain));
        assert_ne!(kernel_recipe(bounce), kernel_recipe(plain));
    }

    #[test]
    fn a_fragment_names_its_image_once() {
        let text = fragment("x", "CONFIG_A=y\n");
        let named: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_LOCALVERSION="))
            .collect();
        assert_eq!(named, ["CONFIG_LOCALVERSION=\"-x\""]);
        assert!(text.contains(IPMMU_CONFIG) && text.contains("\nCONFIG_A=y\n"));
    }

    #[test]
    fn an_image_s_own_lines_replace_shared_ones() {
        let text = fragment("x", "# CONFIG_SMP is not set\nCONFIG_NR_CPUS=8\n");
        for (line, count) in [
            ("CONFIG_SMP=y", 0),
            ("# CONFIG_SMP is not set", 1),
            ("CONFIG_NR_CPUS=4", 0),
            ("CONFIG_NR_CPUS=8", 1),
            ("CONFIG_VFP=y", 1),
        ] {
            let found = text.lines().filter(|found| *found == line).count();
            assert_eq!(found, count, "{line}");
        }
    }

    #[test]
    fn lines_are_told_from_comments() {
        assert_eq!(option("CONFIG_A=y\n"), Some("CONFIG_A"));
        assert_eq!(option("# CONFIG_A is not set"), Some("CONFIG_A"));
        for line in ["", "# CONFIG_A was set.", "# What is not set", "A=y"] {
            assert_eq!(option(line), None, "{line}");
        }
    }

    #[test]
    fn init_says_what_callers_wait_for() {
        for line in [
            "guest: ready",
            "guest: powering off",
            "guest: init failed: ",
            "exited with",
        ] {
            assert!(INIT.contains(line), "{line}");
        }
    }
}
