//! The root disks on offer.

use crate::Error;

/// A root disk on offer.
#[derive(Debug, PartialEq, Eq)]
pub struct RootSpec {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    /// Code name of the Debian release.
    pub suite: &'static str,
    /// The image whose kernel is that release's stock one.
    pub image: &'static str,
    /// Packages beyond [`BASE`].
    pub(super) more: &'static [&'static str],
}

/// What every root disk has besides Debian's essential packages, and what those need.
pub(super) const BASE: [&str; 12] = [
    // Instead of the package that would merge directories which are merged already.
    "usr-is-merged",
    "systemd-sysv",
    "udev",
    "dbus",
    "libpam-systemd",
    "login",
    "passwd",
    "mount",
    "apt",
    "kmod",
    "procps",
    "less",
];

/// What the benchmarks run.
const TOOLS: &[&str] = &["gcc", "libc6-dev", "python3", "openssl"];

static ROOTS: [RootSpec; 4] = [
    RootSpec {
        name: "debian:bookworm",
        description: "Debian 12 with systemd and apt",
        suite: "bookworm",
        image: "debian-armmp-6.1",
        more: &[],
    },
    RootSpec {
        name: "debian:bookworm+tools",
        description: "the same with gcc, Python and openssl",
        suite: "bookworm",
        image: "debian-armmp-6.1",
        more: TOOLS,
    },
    RootSpec {
        name: "debian:trixie",
        description: "Debian 13 with systemd and apt",
        suite: "trixie",
        image: "debian-armmp-6.12",
        more: &[],
    },
    RootSpec {
        name: "debian:trixie+tools",
        description: "the same with gcc, Python and openssl",
        suite: "trixie",
        image: "debian-armmp-6.12",
        more: TOOLS,
    },
];

impl RootSpec {
    /// Returns the names of the packages that apt is asked for.
    pub(crate) fn wanted(&self) -> Vec<&'static str> {
        let all = ["?essential"].into_iter().chain(BASE);
        all.chain(self.more.iter().copied()).collect()
    }

    /// Returns a name for files in the cache.
    pub(super) fn file_name(&self) -> String {
        format!("root-{}", self.name.replace(':', "-"))
    }
}

/// Returns all root disks on offer.
#[must_use]
pub fn all() -> &'static [RootSpec] {
    &ROOTS
}

/// Returns the root disk of that name.
///
/// # Errors
/// [`Error::UnknownRootDisk`], which lists the names there are.
pub fn find(name: &str) -> Result<&'static RootSpec, Error> {
    let found = ROOTS.iter().find(|spec| spec.name == name);
    found.ok_or_else(|| Error::UnknownRootDisk {
        name: name.to_owned(),
        known: ROOTS.iter().map(|spec| spec.name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn each_has_the_stock_kernel_of_its_release() {
        for spec in all() {
            assert_eq!(find(spec.name).unwrap(), spec);
            let image = catalog::find(spec.image).unwrap();
            assert!(image.how().ends_with(spec.suite), "{}", image.how());
        }
    }

    #[test]
    fn an_unknown_one_is_told_with_those_there_are() {
        let sentence = find("debian:sid").unwrap_err().to_string();
        assert!(
            sentence.contains("\"debian:sid\"") && sentence.contains("debian:trixie+tools"),
            "{sentence}"
        );
    }
}
