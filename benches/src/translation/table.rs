//! A page table in guest memory, as `ipmmu-vmsa` writes it, behind both viommu and vm-memory's
//! `IommuMemory`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use viommu::walk::{GuestTables, Level, Regime, Region, Security, walk};
use viommu::{Access, DomainId, EndpointId, Fault, Mapping, Miss, Model, Requester};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

/// Size of a mapping in bytes.
pub const PAGE: u64 = 0x1000;
/// First IOVA: where the window of `ipmmu-vmsa` begins.
pub const IOVA: u64 = 0x4000_0000;
/// The bits of a table descriptor besides the address, as Linux's io-pgtable-arm writes them for
/// the IPMMU.
const TABLE: u64 = 0x8080_0000_0000_0003;
/// The bits of a page descriptor for reading and writing.
const READ_WRITE: u64 = 0xe63;
/// IOVAs that a second-level entry covers.
const SECOND_LEVEL: u64 = 2 << 20;

/// A table of three levels for one gigabyte of IOVAs from [`IOVA`] on.
///
/// The tables stand in a row: first level, second level, then all of the third level.
#[derive(Debug)]
pub struct PageTable {
    memory: Arc<GuestMemoryMmap<()>>,
    regime: Regime,
    base: u64,
    leaves: u64,
}

impl PageTable {
    /// Returns the bytes of tables for IOVAs up to and including `last`.
    pub fn size_for(last: u64) -> u64 {
        (2 + third_level_tables(last)) * PAGE
    }

    /// Creates tables at `base` in zeroed memory for IOVAs up to and including `last`, none of them
    /// mapped.
    pub fn new(memory: Arc<GuestMemoryMmap<()>>, base: u64, last: u64) -> Self {
        let (second, leaves) = (base + PAGE, base + 2 * PAGE);
        let region = Region::new(base, 0, Level::First);
        let table = Self {
            memory,
            regime: Regime {
                security: Security::NonSecureRequired,
                ..Regime::new(region)
            },
            base,
            leaves,
        };
        // Bits 31 and 30 of an IOVA choose the entry of the first level, which covers 1 GiB.
        table.store(base + (IOVA >> 30) * 8, second | TABLE);
        for n in 0..third_level_tables(last) {
            table.store(second + n * 8, (leaves + n * PAGE) | TABLE);
        }
        table
    }

    /// Returns where the table of the first level is.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Maps the page at `iova` to the one at `physical`, for reading and writing.
    pub fn map(&self, iova: u64, physical: u64) {
        self.store(self.leaf(iova), physical | READ_WRITE);
    }

    /// Unmaps the page at `iova`.
    pub fn unmap(&self, iova: u64) {
        self.store(self.leaf(iova), 0);
    }

    fn leaf(&self, iova: u64) -> u64 {
        // Tables of the third level adjoin each other, and so make one array of entries.
        self.leaves + (iova - IOVA) / PAGE * 8
    }

    fn store(&self, address: u64, descriptor: u64) {
        self.memory
            // In one piece, as other threads may be walking these tables.
            .store(descriptor.to_le(), GuestAddress(address), Ordering::Release)
            .expect("tables lie in RAM");
    }

    /// Returns where the page at `iova` leads, found by a walk.
    pub fn lookup(&self, iova: u64) -> Option<u64> {
        let mapping = self.translate(EndpointId(0).into(), DomainId(0), iova, Permissions::Read);
        mapping.ok().map(|mapping| mapping.address)
    }
}

fn third_level_tables(last: u64) -> u64 {
    (last - IOVA) / SECOND_LEVEL + 1
}

impl Model for PageTable {
    fn translate(
        &self,
        _requester: Requester,
        _domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let tables = GuestTables(&*self.memory);
        let walked = walk(&tables, &self.regime, iova, Access::of(wanted))?;
        let beyond = (1 << walked.size_log2) - 1;
        let first = iova & !beyond;
        Ok(Mapping {
            first,
            last: first | beyond,
            address: walked.output & !beyond,
            permissions: match (walked.read, walked.write) {
                (true, true) => Permissions::ReadWrite,
                (true, false) => Permissions::Read,
                (false, true) => Permissions::Write,
                (false, false) => Permissions::No,
            },
        })
    }

    fn fault(&self, fault: &Fault) {
        panic!("every access of a benchmark is mapped: {fault}");
    }
}
