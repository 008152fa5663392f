//! What an image on offer is: types only.

use crate::SourceEdit;

/// The package of the stock kernels with long-descriptor page tables.
pub(crate) const LPAE: &str = "linux-image-armmp-lpae";

/// One image on offer.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// One line for a list.
    pub description: &'static str,
    /// The kernel's series, such as `6.1`.
    pub kernel: &'static str,
    /// What its programs are compiled for.
    pub architecture: Architecture,
    /// Where its kernel comes from.
    pub origin: Origin,
    /// Modules of our own that are compiled for its kernel.
    pub own_modules: &'static [OwnModule],
    /// Modules that its initial file system contains for its guest to load, besides those that are
    /// the same for all images. Its `/init` does not load them.
    pub late_modules: &'static [&'static str],
}

/// A Debian architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 32-bit ARM.
    Armhf,
    /// 64-bit ARM.
    Arm64,
    /// 64-bit x86.
    Amd64,
}

impl Architecture {
    /// Returns Debian's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Armhf => "armhf",
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }
}

/// The origin of a kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// A binary package of a Debian release, unmodified.
    Stock {
        /// The release's code name.
        suite: &'static str,
        /// The package that depends on the release's current kernel package.
        metapackage: &'static str,
    },
    /// Compiled here from a source package of a Debian release with a configuration of ours.
    Built(Build),
}

/// What a kernel is compiled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The release's code name.
    pub suite: &'static str,
    /// The package that holds the source archive.
    pub source: &'static str,
    /// Lines of configuration beyond the fragment that all compiled images share.
    pub addition: &'static str,
    /// What is edited in the source before it is configured. Empty: the source is compiled
    /// unmodified.
    pub edits: &'static [SourceEdit],
    /// Device trees of boards that are compiled with it: names of files that `make` takes, such as
    /// `r8a7791-koelsch.dtb`.
    pub device_trees: &'static [&'static str],
}

/// A kernel module of our own, of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnModule {
    /// Its name.
    pub name: &'static str,
    /// Its source, in C.
    pub source: &'static str,
}

impl ImageSpec {
    /// Returns whether obtaining it compiles a kernel, which takes minutes and a cross compiler.
    #[must_use]
    pub fn needs_build(&self) -> bool {
        matches!(self.origin, Origin::Built(_))
    }

    /// Returns the group of packages of the host by which its kernel, or what belongs to it, is
    /// compiled; see [`host::packages`](crate::host::packages).
    pub(crate) fn compiling(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Built(_) => Some("kernel"),
            Origin::Stock { .. } if self.own_modules.is_empty() => None,
            Origin::Stock { .. } => Some("module"),
        }
    }

    /// Returns how it is obtained, in a few words.
    #[must_use]
    pub fn how(&self) -> String {
        let (text, edits) = match self.origin {
            Origin::Stock { suite, metapackage } => {
                (format!("{metapackage} of Debian {suite}"), &[][..])
            }
            Origin::Built(build) => {
                let Build { suite, source, .. } = build;
                let text = format!("built from {source} of Debian {suite}");
                (text, build.edits)
            }
        };
        let own = (!self.own_modules.is_empty()).then_some("test module of ours");
        let extras = edits.iter().map(|edit| edit.name).chain(own);
        extras.fold(text, |text, extra| format!("{text}, {extra}"))
    }

    /// Returns whether its kernel uses the long-descriptor page tables, which take a CPU that has
    /// them.
    #[must_use]
    pub fn is_lpae(&self) -> bool {
        matches!(
            self.origin,
            Origin::Stock {
                metapackage: LPAE,
                ..
            }
        )
    }
}
