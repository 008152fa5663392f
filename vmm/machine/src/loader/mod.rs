//! Loading a kernel and its companions by ARM Linux's boot protocol.
//!
//! [`open`] takes a kernel out of its file, [`image::parse`] understands it, [`place::place`] finds
//! room, the machine copies.
//! `linux-loader` has no loader for 32-bit ARM images; what it serves here is the command line.

mod formats;
pub mod image;
mod offset;
pub mod place;

use linux_loader::cmdline::Cmdline;
use vmm_base::ByteSize;

use super::config::MAX_CMDLINE;
pub use formats::{KernelFile, open};

/// The reason for which a kernel cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is known, and no kernel for this machine.
    #[error("it is {0}")]
    NotKernel(&'static str),
    /// A 64-bit kernel, and why it finds no processor here.
    #[error(
        "it is an arm64 kernel, and the emulated processor has 32 bits: take KVM of a 64-bit ARM host (--accel kvm){0}"
    )]
    Aarch64(String),
    /// What the kernel is wrapped in is damaged.
    #[error("it is {what} that cannot be used: {why}: copy or build it again")]
    Damaged {
        /// What the file is.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It unpacks to more than fits.
    #[error("it unpacks to more than {0}, which is all the memory there is: use more memory")]
    UnpacksTooLarge(ByteSize),
    /// It is wrapped in itself, or nearly.
    #[error("it is compressed again and again: decompress it first")]
    Nested,
    /// The file is nothing known.
    #[error(
        "it is not a zImage, and its start does not look like a raw Image (say --kernel-format image if it is one)"
    )]
    Unknown,
    /// A raw Image whose data is linked elsewhere than behind its code.
    #[error(
        "it is a kernel that executes in place (XIP), from flash, which this machine has not: build it without \
         CONFIG_XIP_KERNEL"
    )]
    InPlace,
    /// Announced as zImage without its magic number.
    #[error("it is said to be a zImage but lacks the magic number of one")]
    NoZimageMagic,
    /// Too short for one instruction.
    #[error("it is shorter than one instruction")]
    Short,
    /// The file ends too early.
    #[error("it is cut short: it has {have} of {want} bytes")]
    Truncated {
        /// Bytes announced.
        want: u64,
        /// Bytes there.
        have: u64,
    },
    /// A device tree behind the kernel, which that would take for the machine's.
    #[error(
        "a device tree follows the kernel in its file, and a kernel with CONFIG_ARM_APPENDED_DTB would take it in \
         place of \
         this machine's: cut it off (head -c {0} FILE)"
    )]
    AppendedTree(u64),
    /// More RAM is needed.
    #[error("{have} of memory is too little: kernel and initrd need at least {need}")]
    RamTooSmall {
        /// RAM of the machine.
        have: ByteSize,
        /// RAM that would do.
        need: ByteSize,
    },
    /// The initrd takes all RAM.
    #[error(
        "{have} of memory is too little for an initrd of {initrd} bytes and a kernel: use more memory"
    )]
    NoRoomForInitrd {
        /// RAM of the machine.
        have: ByteSize,
        /// Size of the initrd.
        initrd: ByteSize,
    },
    /// The kernel is larger than what a kernel can map.
    #[error("a kernel of {0} bytes is too large for 32-bit ARM")]
    KernelTooLarge(ByteSize),
    /// The initrd is larger than what a kernel can map.
    #[error("an initrd of {size} is too large: a 32-bit kernel reaches at most {most}")]
    InitrdTooLarge {
        /// Its size.
        size: ByteSize,
        /// The limit.
        most: ByteSize,
    },
    /// The command line is malformed.
    #[error("the kernel command line is malformed: {0}")]
    Cmdline(String),
    /// The generated device tree is larger than its room; a bug of ours.
    #[error("the device tree takes {0} bytes, more than its room (this is a bug)")]
    DtbTooLarge(usize),
}

/// Returns the command line as the kernel gets it.
///
/// # Errors
/// [`LoadError::Cmdline`] when it does not parse.
pub fn cmdline(text: &str) -> Result<String, LoadError> {
    let fail = |e: linux_loader::cmdline::Error| LoadError::Cmdline(e.to_string());
    // Both limits count the final NUL: linux-loader's capacity and Linux's COMMAND_LINE_SIZE.
    let parsed = Cmdline::try_from(text, MAX_CMDLINE).map_err(fail)?;
    let raw = parsed.as_cstring().map_err(fail)?;
    raw.into_string()
        .map_err(|e| LoadError::Cmdline(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_pass_through() {
        assert_eq!(
            cmdline("console=ttyS0 quiet").unwrap(),
            "console=ttyS0 quiet"
        );
        assert_eq!(cmdline("").unwrap(), "");
        assert!(
            cmdline("root=/dev/vda -- init args")
                .unwrap()
                .contains("-- init args")
        );
    }
}
