//! What can go wrong, each as a sentence that says what is wrong and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No image of this name is in the catalog.
    #[error("There is no image named {name:?}; the known ones are {}.", .known.join(", "))]
    UnknownImage {
        /// The name asked for.
        name: String,
        /// All names that would have been accepted.
        known: Vec<&'static str>,
    },
    /// An image has not the device tree of a board.
    #[error(
        "The kernel of the image {image} comes without {dtb}: name {known}, or the file by --dtb."
    )]
    NoBoard {
        /// The image.
        image: &'static str,
        /// The file.
        dtb: String,
        /// Images that have it, in words.
        known: String,
    },
    /// No root disk of this name is on offer.
    #[error("There is no root disk named {name:?}; the known ones are {}.", .known.join(", "))]
    UnknownRootDisk {
        /// The name asked for.
        name: String,
        /// All names that would have been accepted.
        known: Vec<&'static str>,
    },
    /// The guest that makes a root disk did not do so.
    #[error(
        "The root disk {name} could not be made: the guest that installs its packages {detail}; its console is in \
         {log}."
    )]
    RootDisk {
        /// The disk's name.
        name: String,
        /// What the guest did, in words that follow "the guest".
        detail: String,
        /// What it printed.
        log: PathBuf,
    },
    /// Neither the environment nor the user's home says where the cache may be.
    #[error(
        "There is no place for the image cache: set VIOMMU_CACHE to a directory, or set HOME or XDG_CACHE_HOME to an \
         absolute path."
    )]
    NoCacheDirectory,
    /// The cache directory may not be written.
    #[error(
        "The image cache cannot be written at {path}: {source}; set VIOMMU_CACHE to a directory of your own."
    )]
    CacheNotWritable {
        /// The file or directory that could not be written.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// The file system of the cache is full, or will be.
    #[error(
        "There is not enough space for the image at {path}{}; make room or set VIOMMU_CACHE to a larger file system.",
        space(*.needed)
    )]
    DiskFull {
        /// The place without space.
        path: PathBuf,
        /// Free bytes that the step takes, where known.
        needed: Option<u64>,
    },
    /// Another operation on a file failed.
    #[error("{path} could not be {action}: {source}.")]
    Io {
        /// What was tried, as a past participle.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// What is to be the mirror is no address.
    #[error(
        "VIOMMU_DEBIAN_MIRROR={mirror:?} is not the address of a mirror: write one such as \
         http://deb.debian.org/debian."
    )]
    NoMirror {
        /// What the environment says.
        mirror: String,
    },
    /// The mirror cannot be reached.
    #[error(
        "The Debian mirror {mirror} cannot be reached ({detail}); check the network or proxy, or set \
         VIOMMU_DEBIAN_MIRROR to another mirror, and run this again: what has come is kept."
    )]
    Network {
        /// Base address of the mirror.
        mirror: String,
        /// apt's own words.
        detail: String,
    },
    /// The signature of a release could not be verified with any keyring at hand.
    #[error(
        "The signature of Debian {suite} cannot be verified ({detail}); update the package debian-archive-keyring of \
         this host and run this again."
    )]
    Signature {
        /// The Debian release.
        suite: String,
        /// apt's own words.
        detail: String,
    },
    /// apt failed in another way.
    #[error("apt could not {action}: {detail}.")]
    Apt {
        /// What it was asked to do.
        action: String,
        /// Its last error line.
        detail: String,
    },
    /// The release has no such package.
    #[error(
        "Debian {suite} on the mirror {mirror} has no package {package}; choose another image or mirror."
    )]
    NoPackage {
        /// The package.
        package: String,
        /// The Debian release.
        suite: String,
        /// Base address of the mirror.
        mirror: String,
    },
    /// What was downloaded, twice, is not what the signed index promises.
    #[error(
        "{file} does not have the SHA-256 that the signed index promises ({actual} instead of {expected}), even after \
         a second download; the mirror or a proxy is broken, so try another with VIOMMU_DEBIAN_MIRROR."
    )]
    HashMismatch {
        /// Name of the package file.
        file: String,
        /// Promised hash, in hexadecimal.
        expected: String,
        /// Hash of what arrived, in hexadecimal.
        actual: String,
    },
    /// A file of the cache was changed after it had been stored.
    #[error(
        "{path} was damaged after it had been stored and has been removed; fetch the image {image:?} again."
    )]
    Damaged {
        /// The image it belongs to.
        image: String,
        /// The file.
        path: PathBuf,
    },
    /// A package does not hold what it should.
    #[error("The package {package} cannot be used: {detail}.")]
    Package {
        /// The package file.
        package: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The source is not as an edit of it expects.
    #[error(
        "The source cannot be edited ({edit}) in {path}: {detail}; this program was written for another version of the \
         source."
    )]
    SourceEdit {
        /// What the edit comes to.
        edit: &'static str,
        /// The file, relative to the top of the source.
        path: &'static str,
        /// What is not as expected.
        detail: String,
    },
    /// A compiled kernel does not have a module that its initial file system is to carry.
    #[error(
        "The kernel of the image {image} has no module {module}, which recipes/late-modules lists; its fragment must \
         say =m."
    )]
    NoModule {
        /// The image.
        image: &'static str,
        /// The module.
        module: String,
    },
    /// The environment's word on installing packages is neither yes nor no.
    #[error(
        "VIOMMU_INSTALL={value:?} says neither yes nor no: yes lets missing packages of this host be installed, and no \
         keeps them from being asked for."
    )]
    InstallVariable {
        /// What the environment says.
        value: String,
    },
    /// Programs are missing that may not be installed from here.
    #[error(
        "Packages that this takes are missing on this host, and nothing has been fetched or compiled. Install them, or \
         let that be done with --install-packages or VIOMMU_INSTALL=yes: {command}"
    )]
    HostPackages {
        /// The command that a user with the right to do so would run.
        command: String,
    },
    /// Installing the missing programs failed.
    #[error("Host packages could not be installed ({detail}); try it by hand: {command}")]
    HostInstall {
        /// The command that failed.
        command: String,
        /// Its last error line.
        detail: String,
    },
    /// A program of the host could not be started or failed.
    #[error("The program {program} {detail}; it is needed to obtain this image.")]
    Program {
        /// Name of the program.
        program: String,
        /// What happened.
        detail: String,
    },
    /// The kernel's configuration did not accept lines of our fragment.
    #[error(
        "The kernel source does not accept these lines of the configuration fragment: {}; the fragment and the source \
         do not fit each other.",
        .lines.join(", ")
    )]
    Fragment {
        /// The lines that are not in the resulting configuration.
        lines: Vec<String>,
    },
    /// The kernel build failed.
    #[error("The kernel build failed; its log is {log} and ends with:\n{tail}")]
    Build {
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// A file to be added to an initramfs has a path or size that the archive cannot hold.
    #[error("{path:?} cannot be put into an initramfs: {detail}.")]
    Archive {
        /// Path inside the archive.
        path: String,
        /// What is wrong with it.
        detail: &'static str,
    },
}

/// Returns the words about needed space in [`Error::DiskFull`].
fn space(needed: Option<u64>) -> String {
    needed.map_or_else(String::new, |bytes| {
        format!(" (about {} MB are needed)", bytes.div_ceil(1_000_000))
    })
}

impl Error {
    /// Turns a failed file operation into the error whose advice fits its cause.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, needed: None }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::CacheNotWritable { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Adds to an I/O result what was tried on which file.
pub(crate) trait IoContext<T> {
    /// Converts the error as [`Error::io`] does.
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(action, path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_names_path_and_space() {
        let error = Error::DiskFull {
            path: "/c".into(),
            needed: Some(2_500_000_000),
        };
        assert_eq!(
            error.to_string(),
            "There is not enough space for the image at /c (about 2500 MB are needed); make room or set VIOMMU_CACHE \
             to a larger file system."
        );
    }

    #[test]
    fn cause_chooses_the_advice() {
        let of =
            |kind: io::ErrorKind| Error::io("written", Path::new("/c/x"), kind.into()).to_string();
        assert!(of(io::ErrorKind::StorageFull).contains("not enough space for the image at /c/x"));
        assert!(
            of(io::ErrorKind::PermissionDenied)
                .contains("set VIOMMU_CACHE to a directory of your own")
        );
        assert!(of(io::ErrorKind::NotFound).starts_with("/c/x could not be written: "));
    }

    #[test]
    fn unknown_image_lists_the_known_ones() {
        let error = Error::UnknownImage {
            name: "x".into(),
            known: vec!["a", "b"],
        };
        assert_eq!(
            error.to_string(),
            "There is no image named \"x\"; the known ones are a, b."
        );
    }
}
