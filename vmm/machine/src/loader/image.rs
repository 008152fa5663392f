//! What a kernel file is, found out from its bytes.

use vmm_base::Width;

use super::super::config::KernelFormat;
use super::{LoadError, offset};
use crate::config::RAM_ALIGN;

/// Magic number of a zImage, at [`ZIMAGE_MAGIC_AT`] (Linux, Documentation/arch/arm/booting and
/// head.S).
const ZIMAGE_MAGIC: u32 = 0x016f_2818;
const ZIMAGE_MAGIC_AT: usize = 0x24;
/// Address at which the image believes to start and end; the difference is its size.
const ZIMAGE_START_AT: usize = 0x28;
const ZIMAGE_END_AT: usize = 0x2c;
/// A second magic number tells that a table of tags follows, at the offset in the next word.
const ZIMAGE_MAGIC2: u32 = 0x4545_4545;
const ZIMAGE_MAGIC2_AT: usize = 0x34;
const ZIMAGE_TAGS_AT: usize = 0x38;
/// Tag with the size of the unpacked kernel ("KLSZ", read as a little-endian word).
const TAG_KERNEL_SIZE: u32 = 0x5a53_4c4b;
/// Magic number of an arm64 Image ("ARM\x64") and where it, the offset from a multiple of 2 MiB
/// that the kernel wants and the memory that it takes are (Linux,
/// Documentation/arch/arm64/booting.rst).
const ARM64_MAGIC: u32 = 0x644d_5241;
const ARM64_MAGIC_AT: usize = 0x38;
const ARM64_OFFSET_AT: usize = 8;
const ARM64_MEMORY_AT: usize = 16;
/// Magic number of a flattened device tree, big-endian (Devicetree Specification, 5.2).
const DTB_MAGIC: u32 = 0xd00d_feed;
/// With this, `setend be`, big-endian kernels begin (arch/arm/kernel/head.S, ARM_BE8).
const SETEND_BE: u32 = 0xf101_0200;
/// Most tags looked at; real images have one or two.
const MAX_TAGS: usize = 16;

/// A kernel file, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the file.
    pub size: u64,
}

/// The kinds of kernel that boot here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A self-extracting image.
    Zimage {
        /// Bytes that the unpacked kernel takes with its zeroed data, if the image says so.
        unpacked: Option<u64>,
    },
    /// A raw image, started at its first byte.
    Image {
        /// Where it must lie, from the start of RAM on.
        text_offset: u64,
    },
    /// A 64-bit image, started at its first byte.
    Arm64 {
        /// Where it must lie, from a multiple of 2 MiB on.
        offset: u64,
        /// Bytes that the running kernel takes with its zeroed data.
        memory: u64,
    },
}

impl Kind {
    /// Returns the registers of the processor that it is for.
    pub const fn width(self) -> Width {
        match self {
            Self::Zimage { .. } | Self::Image { .. } => Width::Bits32,
            Self::Arm64 { .. } => Width::Bits64,
        }
    }
}

/// Parses `bytes` as a kernel. A pure function: no byte sequence makes it panic.
///
/// # Errors
/// [`LoadError::NotKernel`] with what the file is instead, or [`LoadError::Unknown`].
pub fn parse(bytes: &[u8], format: KernelFormat) -> Result<Image, LoadError> {
    let size = bytes.len() as u64;
    let magic = word(bytes, ZIMAGE_MAGIC_AT);
    match format {
        KernelFormat::Zimage if magic != Some(ZIMAGE_MAGIC) => Err(LoadError::NoZimageMagic),
        _ if word(bytes, ARM64_MAGIC_AT) == Some(ARM64_MAGIC) => arm64(bytes),
        KernelFormat::Image if bytes.len() < 4 => Err(LoadError::Short),
        KernelFormat::Image => Ok(raw(bytes)),
        _ if magic == Some(ZIMAGE_MAGIC) => {
            check_length(bytes)?;
            Ok(Image {
                kind: Kind::Zimage {
                    unpacked: unpacked_size(bytes),
                },
                size,
            })
        }
        _ => match foreign(bytes) {
            Some(what) => Err(LoadError::NotKernel(what)),
            None if word(bytes, 0) == Some(SETEND_BE) => Err(LoadError::NotKernel(
                "a big-endian Image, and this machine is little-endian",
            )),
            None if looks_like_raw_image(bytes) && offset::runs_in_place(bytes) => {
                Err(LoadError::InPlace)
            }
            None if looks_like_raw_image(bytes) => Ok(raw(bytes)),
            None => Err(LoadError::Unknown),
        },
    }
}

fn raw(bytes: &[u8]) -> Image {
    let text_offset = offset::of(bytes);
    Image {
        kind: Kind::Image { text_offset },
        size: bytes.len() as u64,
    }
}

/// Parses the header of an arm64 Image.
fn arm64(bytes: &[u8]) -> Result<Image, LoadError> {
    let damaged = LoadError::NotKernel("a damaged arm64 Image");
    let field =
        |at: usize| Some(u64::from(word(bytes, at + 4)?) << 32 | u64::from(word(bytes, at)?));
    let (Some(offset), Some(memory)) = (field(ARM64_OFFSET_AT), field(ARM64_MEMORY_AT)) else {
        return Err(damaged);
    };
    let size = bytes.len() as u64;
    // A size of 0 marks the byte order of kernels before 3.17, which nobody boots here.
    if offset >= RAM_ALIGN || memory < size {
        return Err(damaged);
    }
    Ok(Image {
        kind: Kind::Arm64 { offset, memory },
        size,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// Checks that the file has all its bytes and no more. A zImage that was cut short would decompress
/// garbage and hang without a word, and one with a device tree at its end may be of a kernel that
/// prefers that to its machine's (arch/arm/boot/compressed/head.S).
fn check_length(bytes: &[u8]) -> Result<(), LoadError> {
    let start = word(bytes, ZIMAGE_START_AT).unwrap_or(0);
    let end = word(bytes, ZIMAGE_END_AT).unwrap_or(0);
    match u64::from(end).checked_sub(u64::from(start)) {
        Some(want) if want <= bytes.len() as u64 => {
            let behind = usize::try_from(want).ok().and_then(|end| word(bytes, end));
            match behind.map(u32::swap_bytes) {
                Some(DTB_MAGIC) => Err(LoadError::AppendedTree(want)),
                _ => Ok(()),
            }
        }
        Some(want) => Err(LoadError::Truncated {
            want,
            have: bytes.len() as u64,
        }),
        None => Err(LoadError::NotKernel(
            "a damaged zImage whose end lies before its start",
        )),
    }
}

/// Returns the size tag:
/// `{ words, tag, offset of the size of the initialised part, size of the zeroed part }`.
fn unpacked_size(bytes: &[u8]) -> Option<u64> {
    if word(bytes, ZIMAGE_MAGIC2_AT)? != ZIMAGE_MAGIC2 {
        return None;
    }
    let mut at = word(bytes, ZIMAGE_TAGS_AT)? as usize;
    for _ in 0..MAX_TAGS {
        let words = word(bytes, at)? as usize;
        if words == 0 {
            return None;
        }
        if word(bytes, at.checked_add(4)?)? == TAG_KERNEL_SIZE {
            let initialised = word(bytes, word(bytes, at.checked_add(8)?)? as usize)?;
            let zeroed = word(bytes, at.checked_add(12)?)?;
            return Some(u64::from(initialised) + u64::from(zeroed));
        }
        at = at.checked_add(words.checked_mul(4)?)?;
    }
    None
}

/// Returns whether the first instruction is one with which ARM kernels begin: a branch (with link)
/// over the header, a change of the processor mode, or the switch to Thumb of Thumb-2 kernels.
fn looks_like_raw_image(bytes: &[u8]) -> bool {
    let Some(first) = word(bytes, 0) else {
        return false;
    };
    bytes.len() >= 4096
        && (matches!(first >> 24, 0xea | 0xeb)
            || matches!(first & 0xffff_0fff, 0xe10f_0000) // mrs rN, cpsr
            || matches!(first & 0xffff_0fff, 0xe28f_0001) // add rN, pc, #1: then bx rN
            || matches!(first, 0xe321_f0d3 | 0xf10c_01d3 | 0xe1a0_0000)) // msr, cps, nop
}

/// Returns what a file is that some other loader would take.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    macro_rules! compressed {
        ($by:literal) => {
            concat!($by, "-compressed: decompress it first")
        };
    }
    let table: [(usize, &[u8], &str); 18] = [
        (
            0x38,
            b"RSC\x05",
            "a RISC-V Image, and this machine is 32-bit ARM",
        ),
        (
            0x202,
            b"HdrS",
            "an x86 bzImage, and this machine is 32-bit ARM",
        ),
        (
            0x24,
            b"\x01\x6f\x28\x18",
            "a big-endian zImage, and this machine is little-endian",
        ),
        (4, b"zimg", "an EFI zboot image, not a zImage"),
        (0, b"\x1f\x8b", compressed!("gzip")),
        (0, b"\xfd7zXZ\0", compressed!("xz")),
        (0, b"\x28\xb5\x2f\xfd", compressed!("zstd")),
        (0, b"BZh", compressed!("bzip2")),
        (0, b"\x02\x21\x4c\x18", compressed!("lz4")),
        (0, b"\x04\x22\x4d\x18", compressed!("lz4")),
        (0, b"\x5d\0\0", compressed!("lzma")),
        (0, b"\x89LZO\0", compressed!("lzo")),
        (0, b"070701", "a cpio archive: is it the initrd?"),
        (
            0,
            b"!<arch>\n",
            "an archive (a Debian package or a library)",
        ),
        (0, b"PK\x03\x04", "a zip archive"),
        (0, b"#!", "a script"),
        (0, b"MZ", "an EFI program"),
        (0x101, b"ustar", "a tar archive"),
    ];
    if at(0, b"\x7fELF") {
        return Some(match bytes.get(18) {
            Some(40) => "an ELF file (a vmlinux?): use the zImage or the raw Image built beside it",
            _ => "an ELF file of another processor",
        });
    }
    if bytes.is_empty() {
        return Some("an empty file");
    }
    if at(0, b"\x27\x05\x19\x56") {
        return Some(uimage(bytes));
    }
    if at(0, &DTB_MAGIC.to_be_bytes()) {
        return Some(tree(bytes));
    }
    table
        .iter()
        .find(|(offset, magic, _)| at(*offset, magic))
        .map(|&(_, _, what)| what)
}

/// Returns what to do with a device tree: a FIT image is one that has a node of images (U-Boot,
/// doc/usage/fit/source_file_format.rst).
fn tree(bytes: &[u8]) -> &'static str {
    /// FDT_BEGIN_NODE and a name (Devicetree Specification, 5.4).
    const IMAGES: &[u8] = b"\0\0\0\x01images\0";
    /// More than stands before the first node's first child in any file.
    const FIRST: usize = 1 << 20;
    let first = &bytes[..bytes.len().min(FIRST)];
    if first.windows(IMAGES.len()).any(|window| window == IMAGES) {
        "a FIT image: take the kernel out of it (dumpimage -l FILE lists its parts, dumpimage -T flat_dt -p 0 -o \
         KERNEL FILE takes out the first)"
    } else {
        "a device tree, and no kernel: this machine makes its own tree"
    }
}

/// Returns what to do with a U-Boot legacy image. The header has 64 bytes; the one at 29 is the
/// architecture, the one at 31 the compression of what follows (U-Boot, include/image.h,
/// `struct legacy_img_hdr`).
fn uimage(bytes: &[u8]) -> &'static str {
    const ARM: u8 = 2;
    match (bytes.get(29), bytes.get(31)) {
        (Some(&arch), _) if arch != ARM => "a U-Boot uImage for another processor than 32-bit ARM",
        (_, Some(0)) => {
            "a U-Boot uImage: take the kernel behind its header of 64 bytes (tail -c +65 FILE)"
        }
        (_, Some(1)) => {
            "a U-Boot uImage of a gzip-compressed Image: take that from behind the header of 64 bytes \
             (tail -c +65 FILE | gunzip), and boot it with --kernel-format image"
        }
        _ => {
            "a U-Boot uImage of a compressed Image: decompress what follows its header of 64 bytes \
             (tail -c +65 FILE), and boot it with --kernel-format image"
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a zImage of `size` bytes that says it unpacks to `unpacked`.
    pub(crate) fn zimage(size: usize, unpacked: Option<u32>) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let mut put =
            |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(ZIMAGE_MAGIC_AT, ZIMAGE_MAGIC);
        put(ZIMAGE_END_AT, u32::try_from(size).unwrap());
        if let Some(unpacked) = unpacked {
            put(ZIMAGE_MAGIC2_AT, ZIMAGE_MAGIC2);
            put(ZIMAGE_TAGS_AT, 0x40);
            for (at, value) in [
                (0x40, 2),
                (0x44, 1),
                (0x48, 4),
                (0x4c, TAG_KERNEL_SIZE),
                (0x50, 0x60),
                (0x54, 1000),
            ] {
                put(at, value);
            }
            put(0x60, unpacked - 1000);
        }
        bytes
    }

    #[test]
    fn zimages_with_and_without_size() {
        let image = parse(&zimage(4096, None), KernelFormat::Auto).unwrap();
        assert_eq!(
            image,
            Image {
                kind: Kind::Zimage { unpacked: None },
                size: 4096
            }
        );
        let image = parse(&zimage(4096, Some(5_000_000)), KernelFormat::Auto).unwrap();
        assert_eq!(
            image.kind,
            Kind::Zimage {
                unpacked: Some(5_000_000)
            }
        );
        // What follows is the kernel's unless it is a device tree; that can be cut off as the
        // sentence says.
        let mut more = zimage(4096, None);
        more.extend_from_slice(&[0; 100]);
        parse(&more, KernelFormat::Auto).unwrap();
        more[4096..4100].copy_from_slice(b"\xd0\x0d\xfe\xed");
        let error = parse(&more, KernelFormat::Zimage).unwrap_err();
        assert!(error.to_string().contains("head -c 4096"), "{error}");
        parse(&more[..4096], KernelFormat::Zimage).unwrap();
        assert!(matches!(
            parse(&zimage(4096, None)[..4000], KernelFormat::Auto),
            Err(LoadError::Truncated {
                want: 4096,
                have: 4000
            })
        ));
    }

    #[test]
    fn raw_images_by_first_instruction_or_by_order() {
        let mut bytes = vec![0; 8192];
        assert!(matches!(
            parse(&bytes, KernelFormat::Auto),
            Err(LoadError::Unknown)
        ));
        assert_eq!(
            parse(&bytes, KernelFormat::Image).unwrap().kind,
            Kind::Image {
                text_offset: 0x8000
            }
        );
        for first in [0xeb00_1234_u32, 0xea00_0001, 0xe10f_9000, 0xe28f_9001] {
            bytes[..4].copy_from_slice(&first.to_le_bytes());
            assert_eq!(
                parse(&bytes, KernelFormat::Auto).unwrap().kind,
                Kind::Image {
                    text_offset: 0x8000
                },
                "{first:#x}"
            );
        }
        assert!(matches!(
            parse(&bytes, KernelFormat::Zimage),
            Err(LoadError::NoZimageMagic)
        ));
    }

    /// Returns an arm64 Image that wants this offset and takes this much memory.
    pub(crate) fn arm64(offset: u64, memory: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[ARM64_OFFSET_AT..ARM64_MEMORY_AT].copy_from_slice(&offset.to_le_bytes());
        bytes[ARM64_MEMORY_AT..ARM64_MEMORY_AT + 8].copy_from_slice(&memory.to_le_bytes());
        bytes[ARM64_MAGIC_AT..ARM64_MAGIC_AT + 4].copy_from_slice(b"ARM\x64");
        bytes
    }

    #[test]
    fn arm64_images_say_where_they_want_to_be() {
        for format in [KernelFormat::Auto, KernelFormat::Image] {
            let image = parse(&arm64(0x8_0000, 5000), format).unwrap();
            let kind = Kind::Arm64 {
                offset: 0x8_0000,
                memory: 5000,
            };
            assert_eq!((image.kind, image.size), (kind, 4096));
            assert_eq!(kind.width(), Width::Bits64);
        }
        for damaged in [arm64(RAM_ALIGN, 5000), arm64(0, 4095), arm64(u64::MAX, 0)] {
            let error = parse(&damaged, KernelFormat::Auto).unwrap_err();
            assert!(matches!(error, LoadError::NotKernel(_)), "{error}");
        }
    }

    #[test]
    fn other_files_are_named() {
        let mut bzimage = vec![0; 4096];
        bzimage[0x202..0x206].copy_from_slice(b"HdrS");
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(64, 0);
        elf[18] = 40;
        let uimage = |compression: u8| {
            let mut bytes = vec![0; 128];
            bytes[..4].copy_from_slice(b"\x27\x05\x19\x56");
            (bytes[29], bytes[31]) = (2, compression);
            bytes
        };
        let mut big_endian = vec![0; 4096];
        big_endian[..4].copy_from_slice(&SETEND_BE.to_le_bytes());
        // Code, and behind it 100 empty lists that are linked at the start of memory.
        let mut in_place = vec![0; 1 << 20];
        in_place[..4].copy_from_slice(&0xea00_0001_u32.to_le_bytes());
        for list in 0..100 {
            let pointer = 0xc000_8000_u32 + 12 * list;
            in_place.extend([pointer, pointer, 0].map(u32::to_le_bytes).as_flattened());
        }
        let fit = b"\xd0\x0d\xfe\xed and so on \0\0\0\x01images\0".to_vec();
        let cases: [(&[u8], &str); 15] = [
            (b"\x02\x21\x4c\x18", "lz4"),
            (b"\x04\x22\x4d\x18", "lz4"),
            (b"\x5d\0\0\0\x01", "lzma"),
            (&uimage(0), "(tail -c +65 FILE)"),
            (&uimage(1), "| gunzip"),
            (&uimage(3), "of a compressed Image"),
            (&bzimage, "x86"),
            (&elf, "vmlinux"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"", "empty"),
            (b"#!/bin/sh\n", "script"),
            (&big_endian, "a big-endian Image"),
            (&in_place, "executes in place"),
            (&fit, "a FIT image: take the kernel out of it"),
            (b"\xd0\x0d\xfe\xed", "a device tree, and no kernel"),
        ];
        for (bytes, word) in cases {
            let sentence = parse(bytes, KernelFormat::Auto).unwrap_err().to_string();
            assert!(sentence.contains(word), "{sentence:?} lacks {word:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..256),
            magic: bool, tags: bool,
        ) {
            if magic && bytes.len() > 0x28 {
                bytes[ZIMAGE_MAGIC_AT..ZIMAGE_MAGIC_AT + 4].copy_from_slice(&ZIMAGE_MAGIC.to_le_bytes());
            }
            if tags && bytes.len() > 0x3c {
                bytes[ZIMAGE_START_AT..ZIMAGE_MAGIC2_AT].fill(0);
                bytes[ZIMAGE_MAGIC2_AT..ZIMAGE_MAGIC2_AT + 4].copy_from_slice(&ZIMAGE_MAGIC2.to_le_bytes());
                bytes[ZIMAGE_TAGS_AT + 1..ZIMAGE_TAGS_AT + 4].fill(0);
            }
            for format in [KernelFormat::Auto, KernelFormat::Zimage, KernelFormat::Image] {
                if let Ok(image) = parse(&bytes, format) {
                    prop_assert_eq!(image.size, bytes.len() as u64);
                }
            }
        }
    }
}
