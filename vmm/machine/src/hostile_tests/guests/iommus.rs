//! Guests of IOMMUs.

use vmm_machine::{IommuConfig, IommuModel};

use super::*;

/// Returns a request of a virtio-iommu: its device-readable part.
pub fn request(kind: u8, words: &[u32]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    [kind, 0, 0, 0].into_iter().chain(words).collect()
}

/// Maps page `page` of domain 1 to one page behind another, so that none can be joined.
pub fn map(page: u64) -> Vec<u8> {
    let first = page << 12;
    let words = [1, first as u32, (first >> 32) as u32, first as u32 | 0xfff];
    let more = [(first >> 32) as u32, 0x4000_0000, 0, 3];
    request(3, &[words, more].concat())
}

/// Returns a ring of requests, answered and made again: to attach, to unmap everything, and to map
/// as many pages as there are requests left.
pub fn requests(time: TimeMode) -> World {
    let change = |config: &mut Config| {
        config.time = time;
        config.iommus = vec![IommuConfig::new(IommuModel::Virtio)];
    };
    let world = disk_of(&[&POKE[..9], &AGAIN], 1, change);
    let attach = request(1, &[1, 0, 0, 0]);
    let unmap = request(4, &[1, 0, 0, u32::MAX, u32::MAX, 0]);
    let pairs = u64::from(RING / 2);
    let all = [attach, unmap].into_iter().chain((0..pairs - 2).map(map));
    for (n, request) in (0..).zip(all) {
        let at = HEADER + 128 * n;
        world.put(at, &request);
        let second = 2 * n as u16 + 1;
        world.descriptor(DESC + 32 * n, (at, request.len() as u32), NEXT, second);
        world.descriptor(DESC + 32 * n + 16, (DATA, 4), WRITE, 0);
    }
    // Each chain twice: an entry of the ring takes two descriptors.
    let ring: Vec<u16> = (0..RING).map(|n| 2 * n % RING).collect();
    world.set_up_with("viommu0", &ring, RING, &[]);
    world
}

/// Flushes of an IPMMU, each waited for, while the disk behind it reads all the time.
pub fn flushes(time: TimeMode) -> World {
    // again: ldr r0, [r5]; str r6, [r5]; b again
    let program: [u32; 3] = [0xe595_0000, 0xe585_6000, 0xeaff_fffc];
    let change = |config: &mut Config| {
        config.time = time;
        config.iommus = vec![IommuConfig::new(IommuModel::Ipmmu)];
    };
    let world = disk_of(&[&POKE[..9], &program], 254, change);
    world.requests(VIRTIO_BLK_T_IN, &devices::mebibytes(254), RING);
    let ring: Vec<u16> = (0..RING).collect();
    // IMCTR of context 0: FLUSH and MMUEN.
    let control = (world.registers("ipmmu0"), 3);
    world.set_up_with("disk0", &ring, RING, &[control]);
    world
}
