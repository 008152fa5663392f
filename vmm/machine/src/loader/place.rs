//! Where kernel, device tree and initrd go (Linux, Documentation/arch/arm/booting and
//! arch/arm64/booting). A 64-bit kernel could have its companions further away than a 32-bit one,
//! and does not need to.

use vmm_base::ByteSize;

use super::super::layout::Range;
use super::LoadError;
use super::image::{Image, Kind};
use super::offset::TEXT_OFFSET;

/// The largest such offset; a zImage does not tell to which it unpacks.
const MAX_TEXT_OFFSET: u64 = 0x30_8000;
/// A zImage is put this far from the start of RAM where there is room, above where it unpacks to,
/// so that it need not move itself away first.
const ZIMAGE_OFFSET: u64 = 32 << 20;
/// Where a zImage goes in a small RAM; it then moves itself.
const ZIMAGE_OFFSET_SMALL: u64 = 0x1_0000;
/// Device tree and initrd go here where there is room: what booting.rst calls a safe location.
const COMPANIONS_OFFSET: u64 = 128 << 20;
/// How far device tree and initrd may lie from the start of RAM, to be in the kernel's low memory
/// mapping: with the 3 GiB / 1 GiB split and the default vmalloc area, 760 MiB are mapped; stay
/// clear of the end.
const LOWMEM: u64 = 704 << 20;
/// What the decompressor uses behind itself: stack, heap, and a page table (head.S: 4 + 64 + 16
/// KiB).
const DECOMPRESSOR_SLACK: u64 = 1 << 20;
/// A kernel is assumed to unpack to this many times its size when the zImage does not say; xz
/// seldom reaches it.
const UNPACK_FACTOR: u64 = 6;
/// Zeroed data that a raw Image is assumed to have behind its end.
const RAW_IMAGE_BSS: u64 = 8 << 20;
/// Room for the device tree.
pub const DTB_ROOM: u64 = 64 << 10;
/// A running system needs this much more than what is loaded.
const WORKING_ROOM: u64 = 4 << 20;

const PAGE: u64 = 4096;

/// The places of everything; physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// First byte of the kernel file, and entry point.
    pub kernel: u64,
    /// The device tree, at most [`DTB_ROOM`] bytes.
    pub dtb: u64,
    /// The initrd, if there is one.
    pub initrd: Option<Range>,
}

/// Finds a place for `image`, a device tree and an initrd of `initrd_size` bytes in `ram`.
///
/// # Errors
/// [`LoadError::RamTooSmall`] naming how much would do, [`LoadError::InitrdTooLarge`] when no
/// amount would.
pub fn place(ram: Range, image: &Image, initrd_size: Option<u64>) -> Result<Placement, LoadError> {
    if let Some(size) = initrd_size {
        // First of all: with a size below LOWMEM no sum that follows overflows.
        check_initrd(ram, size)?;
    }
    let initrd_room = initrd_size.unwrap_or(0).next_multiple_of(PAGE);
    let companions = DTB_ROOM + initrd_room;
    let (kernel_offset, kernel_end) = kernel_extent(ram.size, image)?;
    // What begins at this offset ends within LOWMEM: `check_initrd` has seen to it.
    let mut at = if kernel_end <= COMPANIONS_OFFSET && COMPANIONS_OFFSET + companions <= ram.size {
        COMPANIONS_OFFSET
    } else {
        // Else as high as a kernel reaches, out of the way of what unpacks below.
        // Where there is no room at all this is 0, below the kernel's end, and is refused.
        (ram.size.min(LOWMEM)).saturating_sub(companions) & !(PAGE - 1)
    };
    let need = kernel_end + companions + WORKING_ROOM;
    if need > ram.size || at < kernel_end {
        return Err(LoadError::RamTooSmall {
            have: ByteSize(ram.size),
            // A size that the user can ask for: RAM has whole steps of this.
            need: ByteSize(need.next_multiple_of(crate::config::RAM_ALIGN)),
        });
    }
    at += ram.base;
    Ok(Placement {
        kernel: ram.base + kernel_offset,
        dtb: at,
        initrd: initrd_size.map(|size| Range::new(at + DTB_ROOM, size)),
    })
}

/// Checks that an initrd of `size` bytes can lie in `ram` beside some kernel.
///
/// # Errors
/// [`LoadError::InitrdTooLarge`] when no amount of RAM would do, [`LoadError::NoRoomForInitrd`]
/// when it alone takes all.
pub fn check_initrd(ram: Range, size: u64) -> Result<(), LoadError> {
    // All of low memory from the recommended place on: below that a kernel needs the room.
    let most = LOWMEM - COMPANIONS_OFFSET - DTB_ROOM;
    let initrd = ByteSize(size);
    if size > most {
        let most = ByteSize(most);
        return Err(LoadError::InitrdTooLarge { size: initrd, most });
    }
    if TEXT_OFFSET + size + DTB_ROOM + WORKING_ROOM > ram.size {
        let have = ByteSize(ram.size);
        return Err(LoadError::NoRoomForInitrd { have, initrd });
    }
    Ok(())
}

/// Returns the offset of the kernel file from the start of RAM, and the first offset that nothing
/// of it ever touches.
fn kernel_extent(ram_size: u64, image: &Image) -> Result<(u64, u64), LoadError> {
    // Before it is multiplied and added to: with this limit nothing below overflows.
    if image.size > LOWMEM {
        return Err(LoadError::KernelTooLarge(ByteSize(image.size)));
    }
    let (offset, end) = match image.kind {
        Kind::Image { text_offset } => (text_offset, text_offset + image.size + RAW_IMAGE_BSS),
        Kind::Arm64 { memory, .. } if memory > LOWMEM => {
            return Err(LoadError::KernelTooLarge(ByteSize(memory)));
        }
        // RAM begins at a multiple of 2 MiB.
        Kind::Arm64 { offset, memory } => (offset, offset + memory.max(image.size)),
        Kind::Zimage { unpacked } => {
            // At least the size of the file: what its tag says may be too little, or 0.
            let unpacked = unpacked
                .unwrap_or(image.size * UNPACK_FACTOR)
                .max(image.size);
            if unpacked > LOWMEM {
                return Err(LoadError::KernelTooLarge(ByteSize(unpacked)));
            }
            let running_end = MAX_TEXT_OFFSET + unpacked;
            let at_leisure = ZIMAGE_OFFSET + image.size + DECOMPRESSOR_SLACK;
            if running_end <= ZIMAGE_OFFSET && at_leisure <= ram_size / 2 {
                (ZIMAGE_OFFSET, at_leisure)
            } else {
                // It moves itself behind the place that it unpacks to, which takes room for a
                // second copy.
                let moved = running_end.max(ZIMAGE_OFFSET_SMALL + image.size) + image.size;
                (ZIMAGE_OFFSET_SMALL, moved + 2 * DECOMPRESSOR_SLACK)
            }
        }
    };
    Ok((offset, end.next_multiple_of(PAGE)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn zimage(size: u64, unpacked: Option<u64>) -> Image {
        Image {
            kind: Kind::Zimage { unpacked },
            size,
        }
    }

    #[test]
    fn a_usual_machine_follows_the_recommendation() {
        let ram = Range::new(0x4000_0000, 256 * MIB);
        let placed = place(ram, &zimage(8 * MIB, Some(25 * MIB)), Some(5 * MIB)).unwrap();
        assert_eq!(placed.kernel, 0x4200_0000);
        assert_eq!(placed.dtb, 0x4800_0000);
        assert_eq!(
            placed.initrd,
            Some(Range::new(0x4800_0000 + DTB_ROOM, 5 * MIB))
        );
    }

    #[test]
    fn a_small_machine_uses_the_top_of_ram() {
        let ram = Range::new(0x8000_0000, 64 * MIB);
        let placed = place(ram, &zimage(5 * MIB, Some(12 * MIB)), Some(MIB)).unwrap();
        assert_eq!(placed.kernel, 0x8001_0000);
        assert_eq!(placed.initrd.unwrap().end(), ram.end());
    }

    #[test]
    fn a_raw_image_goes_to_its_text_offset() {
        let ram = Range::new(0x4000_0000, 256 * MIB);
        let placed = place(
            ram,
            &Image {
                kind: Kind::Image {
                    text_offset: 0x20_8000,
                },
                size: 15 * MIB,
            },
            None,
        )
        .unwrap();
        assert_eq!((placed.kernel, placed.initrd), (0x4020_8000, None));
    }

    #[test]
    fn a_64_bit_image_goes_where_it_wants() {
        let ram = Range::new(0x4000_0000, 256 * MIB);
        let image = |memory| Image {
            kind: Kind::Arm64 {
                offset: 0x8_0000,
                memory,
            },
            size: 30 * MIB,
        };
        let placed = place(ram, &image(40 * MIB), Some(5 * MIB)).unwrap();
        assert_eq!((placed.kernel, placed.dtb), (0x4008_0000, 0x4800_0000));
        assert!(matches!(
            place(ram, &image(u64::MAX), None),
            Err(LoadError::KernelTooLarge(_))
        ));
        assert!(place(Range::new(ram.base, 32 * MIB), &image(40 * MIB), None).is_err());
    }

    #[test]
    fn too_little_ram_names_what_would_do() {
        let ram = Range::new(0x4000_0000, 32 * MIB);
        let image = zimage(10 * MIB, Some(30 * MIB));
        let Err(LoadError::RamTooSmall { need, .. }) = place(ram, &image, Some(10 * MIB)) else {
            panic!("it fitted");
        };
        assert!(place(Range::new(ram.base, need.0), &image, Some(10 * MIB)).is_ok());
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let ram = Range::new(0x4000_0000, 2048 * MIB);
        assert!(matches!(
            place(ram, &zimage(MIB, None), Some(u64::MAX / 2)),
            Err(LoadError::InitrdTooLarge { .. })
        ));
        for image in [zimage(MIB, Some(u64::MAX)), zimage(u64::MAX / 2, None)] {
            assert!(matches!(
                place(ram, &image, None),
                Err(LoadError::KernelTooLarge(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_all_is_in_ram(
            ram_size in 8_u64..1024, size in 1_u64..40_000_000, unpacked in proptest::option::of(1_u64..100_000_000),
            initrd in proptest::option::of(0_u64..200_000_000), raw: bool,
            text_offset in prop_oneof![Just(TEXT_OFFSET), Just(MAX_TEXT_OFFSET)],
        ) {
            let ram = Range::new(0x4000_0000, ram_size * 2 * MIB);
            let image = if raw { Image { kind: Kind::Image { text_offset }, size } } else { zimage(size, unpacked) };
            if let Ok(placed) = place(ram, &image, initrd) {
                let running = match image.kind {
                    Kind::Image { .. } | Kind::Arm64 { .. } => size,
                    Kind::Zimage { unpacked } => unpacked.unwrap_or(size * UNPACK_FACTOR),
                };
                prop_assert!(placed.kernel >= ram.base + TEXT_OFFSET);
                prop_assert!(placed.kernel + size <= placed.dtb);
                prop_assert!(ram.base + TEXT_OFFSET + running <= placed.dtb);
                let end = placed.initrd.map_or(placed.dtb + DTB_ROOM, |range| {
                    assert!(range.base >= placed.dtb + DTB_ROOM);
                    range.end()
                });
                prop_assert!(end <= ram.end());
                prop_assert!(end <= ram.base + LOWMEM);
            }
        }
    }
}
