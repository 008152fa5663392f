//! Obtains the guests: kernels and initial file systems for 32-bit ARM, and for 64-bit ARM with
//! KVM, in a content-addressed cache; and a Rust compiler for 64-bit ARM hosts.
//!
//! An image is a kernel and an initramfs. Stock images hold the kernel of a Debian binary package,
//! unmodified, and in their initramfs that package's own modules; the image `ipmmu` is compiled
//! from Debian's unmodified kernel source with the configuration fragment in `recipes/`, and
//! `virtio-iommu` from the same source with one Kconfig dependency widened. Every initramfs is
//! busybox from Debian and the `/init` of `recipes/`, which prints `guest: ready`, runs the
//! commands it is given and powers off.
//!
//! ```no_run
//! let cache = guest_images::Cache::open()?;
//! let image = cache.obtain("debian-armmp", &mut guest_images::Terminal::new())?;
//! println!("{} {}", image.kernel.display(), guest_images::encode_command("cat /proc/cpuinfo"));
//! # Ok::<(), guest_images::Error>(())
//! ```
//!
//! Downloads come through apt with its signature checks, in private directories. Everything that is
//! stored is named by its SHA-256, written beside its place and moved there, and an image is listed
//! only once all of it is stored: a run that is killed leaves nothing broken, and the next one goes
//! on from what was finished. Two runs at once share the work through file locks. Programs that are
//! at work for a run end with it, however it ends; only the host's package manager, once it is at
//! work, is left to finish, and the next run waits for it.
//!
//! Environment: `VIOMMU_CACHE` names the cache directory, `VIOMMU_DEBIAN_MIRROR` the Debian mirror,
//! and `VIOMMU_INSTALL` says whether packages of the host may be installed ([`host`]).

mod apt;
mod blob;
mod board;
mod cache;
pub mod catalog;
mod command;
mod cpio;
mod cross;
mod debug_info;
mod emulator;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host;
mod image;
mod image_spec;
mod initramfs;
mod keeper;
mod kernel_build;
mod kernel_source;
mod lock;
mod make;
mod maker;
mod manifest;
mod module_build;
mod modules;
mod old_rust;
mod process;
mod progress;
mod recipes;
pub mod root_disk;
mod source;
mod source_edit;
mod stock;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod unpacked;

pub use blob::hash_file;
pub use board::BoardFiles;
pub use cache::Cache;
pub use command::{MAX_COMMAND_LINE, NET_WORD, RUN_WORD, SHELL_WORD, encode_command};
pub use cross::CrossRust;
pub use error::Error;
pub use image::Image;
pub use image_spec::{Architecture, Build, ImageSpec, Origin};
pub use initramfs::{GuestFile, guest_script};
pub use progress::{Progress, Silent, Terminal, Unit};
pub use root_disk::RootDisk;
pub use source_edit::SourceEdit;
