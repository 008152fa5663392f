//! Data that a guest copies between disks, compared by the host.

use integration::{Disk, Guest, Run, disk};

use crate::iommu::assert_clean;

pub const MIB: usize = 1 << 20;

/// Copies with O_DIRECT, so that every byte goes by DMA to and from the pages of a process.
fn copy(from: &str, to: &str, block: &str, more: &str) -> String {
    format!("dd if=/dev/{from} of=/dev/{to} bs={block} iflag=direct oflag=direct {more} 2>&1")
}

/// A source, and two disks of its size for what was written and for what was read back.
struct Disks {
    source: Disk,
    written: Disk,
    back: Disk,
}

impl Disks {
    fn new(size: usize, seed: u64) -> Self {
        Self {
            source: disk::noise(size, seed),
            written: disk::of(&vec![0; size]),
            back: disk::of(&vec![0; size]),
        }
    }

    /// Makes the guest copy the source, and what it wrote once more.
    fn boot(&self, guest: Guest, ports: [&str; 3]) -> Run {
        guest
            .disk_at(&self.source, ports[0])
            .disk_at(&self.written, ports[1])
            .disk_at(&self.back, ports[2])
            .run(&copy("vda", "vdb", "1M", ""))
            .run(&copy("vdb", "vdc", "1M", ""))
            .run("dd if=/dev/hwrng bs=32 count=8 2>/dev/null | hexdump | head -n 4")
            .boot()
    }

    fn assert_copied(&self) {
        let source = self.source.sha256();
        assert_eq!(self.written.sha256(), source, "what was written differs");
        assert_eq!(self.back.sha256(), source, "what was read back differs");
    }
}

/// Makes a guest copy so many bytes between disks at these ports, and asserts that they arrived, by
/// accesses that were all allowed.
pub fn copied(size: usize, seed: u64, guest: Guest, ports: [&str; 3]) -> Run {
    let disks = Disks::new(size, seed);
    let run = disks.boot(guest, ports);
    assert_clean(&run);
    disks.assert_copied();
    run
}

/// Makes a guest without an entropy device copy 2 MiB to a second disk, and asserts that they
/// arrived.
pub fn copied_once(seed: u64, guest: Guest) -> Run {
    let (source, target) = (disk::noise(2 * MIB, seed), disk::of(&vec![0; 2 * MIB]));
    let run = guest
        .disk(&source)
        .disk(&target)
        .rng_at("none")
        .run(&copy("vda", "vdb", "64k", ""))
        .run("sha256sum /dev/vdb")
        .boot();
    run.assert_good();
    assert_eq!(target.sha256(), source.sha256());
    assert_eq!(run.output(2), format!("{}  /dev/vdb", source.sha256()));
    run
}

/// Sectors within a page, pages, some pages, and more than one request holds; each its own part of
/// the disk: block size, count, and where, in blocks.
const PIECES: [(&str, usize, usize); 5] = [
    ("512", 96, 0),
    ("1536", 40, 64),
    ("4k", 32, 32),
    ("20k", 10, 20),
    ("1M", 2, 2),
];

/// A source, and a disk for parts of it in pieces of many sizes.
pub struct Pieces {
    source: Disk,
    target: Disk,
}

impl Pieces {
    pub fn new(seed: u64) -> Self {
        Self {
            source: disk::noise(4 * MIB, seed),
            target: disk::of(&vec![0; 4 * MIB]),
        }
    }

    /// Makes the guest copy the pieces.
    pub fn boot(&self, guest: Guest) -> Run {
        let mut guest = guest.disk(&self.source).disk(&self.target);
        for (block, count, skip) in PIECES {
            let more = format!("count={count} skip={skip} seek={skip}");
            guest = guest.run(&copy("vda", "vdb", block, &more));
        }
        guest.boot()
    }

    pub fn assert_copied(&self) {
        let (from, to) = (self.source.bytes(), self.target.bytes());
        let mut wanted = vec![0; 4 * MIB];
        for (block, count, skip) in PIECES {
            let block = match block.strip_suffix('k') {
                Some(k) => k.parse::<usize>().unwrap() << 10,
                None => block
                    .strip_suffix('M')
                    .map_or_else(|| block.parse().unwrap(), |_| MIB),
            };
            let range = block * skip..block * (skip + count);
            wanted[range.clone()].copy_from_slice(&from[range]);
        }
        assert!(to == wanted, "what was written differs");
    }
}
