//! Guests of disks, of the entropy device and of clock generators.

use super::*;

/// Returns `count` segments of a mebibyte of data.
pub fn mebibytes(count: usize) -> Vec<(u64, u32)> {
    vec![(DATA, 1 << 20); count]
}

/// Returns ranges of 128 MiB each, to be discarded or zeroed.
fn ranges(world: &World, count: u64, flags: u32) -> Vec<(u64, u32)> {
    for n in 0..count {
        // Sectors have 512 bytes, so 1 << 18 of them are 128 MiB.
        let sector = (n << 18).to_le_bytes();
        let rest = [1 << 18, flags].map(u32::to_le_bytes).concat();
        world.put(DATA + 16 * n, &[&sector[..], &rest].concat());
    }
    vec![(DATA, 16 * count as u32)]
}

fn at(time: TimeMode, overlay: bool) -> impl FnOnce(&mut Config) {
    move |config| {
        config.time = time;
        config.disks[0].overlay = overlay;
    }
}

/// Creates a guest that requests reads as long as a request can be.
pub fn reads(time: TimeMode, overlay: bool) -> World {
    let world = disk(254, at(time, overlay));
    world.requests(VIRTIO_BLK_T_IN, &mebibytes(254), RING);
    world
}

/// Creates a guest that requests writes, of no more than a host need have room for.
pub fn writes(time: TimeMode, overlay: bool) -> World {
    let world = disk(16, at(time, overlay));
    world.requests(VIRTIO_BLK_T_OUT, &mebibytes(16), RING);
    world
}

/// Creates a guest that requests nothing but flushes, again as soon as they are answered.
pub fn flushes(time: TimeMode) -> World {
    let world = disk_of(&[&POKE[..9], &AGAIN], 16, at(time, false));
    world.requests(VIRTIO_BLK_T_FLUSH, &[], RING);
    world
}

/// Creates a guest that requests discards of all that there is.
pub fn discards(time: TimeMode, overlay: bool) -> World {
    let world = disk(4096, at(time, overlay));
    let data = ranges(&world, 32, 0);
    world.requests(VIRTIO_BLK_T_DISCARD, &data, RING);
    world
}

/// Creates a guest that requests the same with zeroes.
pub fn zeroes(time: TimeMode, overlay: bool) -> World {
    let world = disk(4096, at(time, overlay));
    let data = ranges(&world, 32, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    world.requests(VIRTIO_BLK_T_WRITE_ZEROES, &data, RING);
    world
}

/// Creates a guest that makes requests of as many parts as there can be, all refused: they are no
/// whole sectors.
pub fn crumbs(time: TimeMode) -> World {
    let world = disk_of(&[&POKE[..9], &AGAIN], 1, at(time, false));
    world.requests(VIRTIO_BLK_T_IN, &vec![(DATA, 1); 254], RING);
    world
}

/// Creates a guest that asks for as much noise as a request gets, in each entry of the ring, again
/// as soon as it is there.
pub fn entropy(time: TimeMode) -> World {
    const ENTRIES: u16 = 8;
    let mut again = AGAIN;
    // add r9, r9, #8: its ring is smaller.
    again[4] = 0xe289_9008;
    let world = poking(&[&POKE[..9], &again], |config| {
        config.time = time;
        config.rng = true;
    });
    let ring: Vec<u16> = (0..ENTRIES).collect();
    for head in 0..u64::from(ENTRIES) {
        world.descriptor(DESC + 16 * head, (DATA, 1 << 20), WRITE, 0);
    }
    world.set_up_with("rng", &ring, ENTRIES, &[]);
    world
}

/// Reads and writes many registers of a clock generator with each instruction.
pub fn clocks(time: TimeMode) -> World {
    // mov r1, #0x09000000; add r1, r1, #0x20000; add r2, r1, #0x100; again: ldm r1, {r3-r10}; stm
    // r2, {r3-r10}; b again
    let program: &[u32] = &[
        0xe3a0_1409,
        0xe281_1802,
        0xe281_2c01,
        0xe891_07f8,
        0xe882_07f8,
        0xeaff_fffc,
    ];
    disk_of(&[program], 1, |config| {
        config.time = time;
        config.disks[0].clocks = vec!["clock".into()];
    })
}
