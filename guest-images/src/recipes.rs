//! The recipes: the texts in `recipes/`, embedded so that an installed program needs no checkout, and what is fixed
//! about the builds that use them.

/// Raised when the way in which images are made changes in a manner that the recipe texts do not show: images made by
/// an older way are then made anew.
pub(crate) const FORMAT: u32 = 1;

/// The guest's first process.
pub(crate) const INIT: &str = include_str!("../recipes/init");

/// Names of the modules that a stock kernel's initramfs loads; `#` starts a comment.
pub(crate) const MODULES: &str = include_str!("../recipes/modules");

/// The configuration fragment of the `ipmmu` kernel.
pub(crate) const IPMMU_CONFIG: &str = include_str!("../recipes/ipmmu.config");

/// Lines of `make`'s output that name a compiled, assembled, linked or archived file in a complete build of the
/// `ipmmu` kernel. It only scales the progress bar.
pub(crate) const IPMMU_BUILD_STEPS: u64 = 1372;

/// Set for every kernel build, so that the same source, fragment and compiler give the same kernel.
pub(crate) const BUILD_ENVIRONMENT: [(&str, &str); 4] = [
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_USER", "viommu"),
    ("KBUILD_BUILD_HOST", "viommu"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// Settings on `make`'s command line for every kernel build. `pahole`, which writes the kernel's types (BTF), is kept from
/// working in parallel (`-j`): the order of types would differ from build to build.
pub(crate) const BUILD_SETTINGS: [&str; 3] = [
    "ARCH=arm",
    "CROSS_COMPILE=arm-linux-gnueabihf-",
    "PAHOLE_FLAGS=$(filter-out -j,$(shell PAHOLE=$(PAHOLE) $(srctree)/scripts/pahole-flags.sh))",
];

/// Debian packages that building a kernel takes, beyond what every Debian system has.
pub(crate) const KERNEL_BUILD_PACKAGES: [&str; 13] = [
    "bc",
    "bison",
    "dwarves",
    "flex",
    "gcc",
    "gcc-arm-linux-gnueabihf",
    "libc6-dev",
    "libelf-dev",
    "make",
    "perl",
    "tar",
    "xz-utils",
    "zlib1g-dev",
];

/// Debian packages that obtaining any image takes; a host may lack some when it is not Debian itself.
pub(crate) const FETCH_PACKAGES: [&str; 4] = ["apt", "debian-archive-keyring", "dpkg", "gpgv"];

/// Where busybox comes from: the Debian release and the package. One release serves all images, so that all guests
/// have the same userspace.
pub(crate) const BUSYBOX: (&str, &str) = ("bookworm", "busybox-static");

/// The module names of a module recipe, in order.
pub(crate) fn module_names(recipe: &str) -> Vec<&str> {
    recipe
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .collect()
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
