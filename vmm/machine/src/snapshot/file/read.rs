//! Reads a snapshot. Whatever the bytes are, the answer is a snapshot or a sentence: nothing is
//! allocated that the file does not hold, and nothing is believed that was not looked at.

use std::io::{self, Read};
use std::sync::Arc;

use vmm_devices::disk::SECTOR;
use vmm_devices::disk::storage::{BLOCK, Changes};
use vmm_devices::disk::{Access, Disk, DiskError};

use super::spec::{BLOCKS, DiskHeader, FORM, HEADER, Header, PAGES, STATE, ZEROS};
use super::write::hash;
use crate::board::Board;
use crate::sections::read::json;
use crate::sections::{ReadError, Reader};
use crate::snapshot::Findings;
use crate::snapshot::bench::Bench;
use crate::snapshot::disk::DiskImage;
use crate::snapshot::memory::{Blank, Memory, PAGE};
use crate::snapshot::{Inner, Snapshot};
use crate::{DiskConfig, MachineState, Moved, Processor, Role};

fn damaged(what: &str) -> ReadError {
    ReadError::damaged(what)
}

fn header<R: Read>(sections: &mut Reader<R>) -> Result<Header, ReadError> {
    let header: Header = json(&sections.expect(HEADER)?, "header")?;
    let wrong = |why: String| Err(ReadError::Impossible(why));
    // Before anything is made by it: the sizes of memory and disks come from the file.
    if let Err(error) = header.config.validate() {
        return wrong(error.to_string());
    }
    if header.disks.len() != header.config.disks.len() {
        return wrong("it has another number of disks than their descriptions".into());
    }
    Ok(header)
}

/// Reads the whole file and checks all of it, but opens no disk.
///
/// # Errors
/// It cannot be read, is no snapshot of this version, or is damaged.
pub fn check(input: impl Read) -> Result<Header, ReadError> {
    contents(input).map(|(header, ..)| header)
}

/// Reads a snapshot and opens its disks, which are where it says or where `moved` does.
///
/// # Errors
/// Those of [`check`], or a disk is not where it is looked for, or is another one.
pub fn read(input: impl Read, moved: &Moved) -> Result<Snapshot, ReadError> {
    let (header, state, memory, changes) = contents(input)?;
    let Header {
        mut config, disks, ..
    } = header;
    moved.check(&config)?;
    for (number, path) in &moved.disks {
        // `check` has refused numbers of disks that there are not.
        config.disks[*number].path = std::path::absolute(path)?;
    }
    let images = config.disks.iter().zip(&disks).zip(changes).enumerate();
    let images = images.map(|(number, ((config, header), changes))| {
        let named = moved.disks.contains_key(&number);
        open(config, header, changes, number, named)
    });
    Ok(Snapshot(Arc::new(Inner {
        board: match &state.processor {
            // As it was saved. That this host can have it is checked when a machine is made.
            Processor::Kvm(saved) => Board::on(saved.platform(), &config),
            Processor::Emulated { .. } => Board::new(&config),
        },
        disks: images.collect::<Result<_, _>>()?,
        config,
        state,
        memory,
        findings: Findings::default(),
        bench: Bench::default(),
    })))
}

type Contents = (Header, MachineState, Memory, Vec<Changes>);

fn contents(input: impl Read) -> Result<Contents, ReadError> {
    let mut sections = Reader::new(&FORM, input)?;
    let header = header(&mut sections)?;
    let state = json(&sections.expect(STATE)?, "state")?;
    let size = header.config.ram().size;
    // A hole, so that its size alone takes no memory.
    let blank = Blank::new(size)?;
    let mut changes = vec![DiskChanges::default(); header.disks.len()];
    let mut filled = 0;
    while let Some((kind, contents)) = sections.section()? {
        match kind {
            PAGES => filled = pages(&blank, &contents, filled, size)?,
            BLOCKS => blocks(named(&mut changes, &header.disks, &contents))?,
            ZEROS => zeros(named(&mut changes, &header.disks, &contents))?,
            _ => return Err(damaged("a part of it is there twice")),
        }
    }
    for (changes, disk) in changes.iter().zip(&header.disks) {
        // Blocks that are missing would silently read as what the disk's file holds.
        let there = (changes.all.written(), changes.all.zeros().len() as u64);
        if there != (disk.changed, disk.zeroed) {
            return Err(damaged("blocks of a disk are missing"));
        }
    }
    let changes = changes.into_iter().map(|changes| changes.all).collect();
    Ok((header, state, blank.seal()?, changes))
}

/// Takes pages, which lie behind `filled`; to where memory is filled now.
fn pages(blank: &Blank, contents: &[u8], filled: u64, size: u64) -> Result<u64, ReadError> {
    let wrong = || damaged("it has memory where there can be none");
    let (at, bytes) = contents.split_first_chunk().ok_or_else(wrong)?;
    let at = u64::from_le_bytes(*at);
    let end = at.checked_add(bytes.len() as u64).ok_or_else(wrong)?;
    // They are in ascending order, as they were written, so that no page is there twice.
    let whole = at.is_multiple_of(PAGE as u64) && bytes.len().is_multiple_of(PAGE);
    if !whole || bytes.is_empty() || at < filled || end > size {
        return Err(wrong());
    }
    blank.write(at, bytes)?;
    Ok(end)
}

/// The part of a section that follows the number of a disk, that disk's changes, and how many
/// blocks it has.
type OfDisk<'a> = (&'a [u8], &'a mut DiskChanges, u64);

/// Returns what a section is about whose first word names a disk, if there is that disk.
fn named<'a>(
    changes: &'a mut [DiskChanges],
    disks: &[DiskHeader],
    contents: &'a [u8],
) -> Option<OfDisk<'a>> {
    let (disk, rest) = contents.split_first_chunk()?;
    let disk = u32::from_le_bytes(*disk) as usize;
    let limit = disks.get(disk)?.size.div_ceil(BLOCK as u64);
    Some((rest, changes.get_mut(disk)?, limit))
}

/// Takes blocks of a disk.
fn blocks(of_disk: Option<OfDisk<'_>>) -> Result<(), ReadError> {
    let wrong = || damaged("it has blocks of a disk where there can be none");
    let (rest, changes, limit) = of_disk.ok_or_else(wrong)?;
    let (first, bytes) = rest.split_first_chunk().ok_or_else(wrong)?;
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let first = u64::from_le_bytes(*first);
    let end = first.checked_add(blocks.len() as u64).ok_or_else(wrong)?;
    // Ascending, as they are written: no block is there twice.
    let behind = changes.behind <= first;
    if blocks.is_empty() || !rest.is_empty() || !behind || end > limit {
        return Err(wrong());
    }
    // Nothing is shared below these, so the limits on an overlay count these alone.
    let none = Changes::default();
    for (number, block) in (first..).zip(blocks) {
        let put = changes.all.put(number, block, &none);
        put.map_err(|error| ReadError::Impossible(error.to_string()))?;
    }
    changes.behind = end;
    Ok(())
}

/// Takes ranges of a disk that are zero; they come before its blocks.
fn zeros(of_disk: Option<OfDisk<'_>>) -> Result<(), ReadError> {
    let wrong = || damaged("it has zeros of a disk where there can be none");
    let (rest, changes, limit) = of_disk.ok_or_else(wrong)?;
    let (pairs, rest) = rest.as_chunks::<16>();
    // All zeros of a disk come before its blocks.
    if pairs.is_empty() || !rest.is_empty() || changes.all.written() > 0 {
        return Err(wrong());
    }
    for pair in pairs {
        let word = |at: usize| {
            pair[at..at + 8]
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        // Empty if it ends before it begins, and refused with the empty ones.
        let range = word(0)..word(8);
        // Two that touch would be one.
        let apart = changes.zero_end.is_none_or(|end| end < range.start);
        let end = range.end;
        if range.is_empty() || !apart || end > limit || !changes.all.zero(range) {
            return Err(wrong());
        }
        changes.zero_end = Some(end);
    }
    Ok(())
}

/// The differences from a disk's file, while they are read.
#[derive(Clone, Default)]
struct DiskChanges {
    all: Changes,
    /// The block behind the last one that was read.
    behind: u64,
    /// The block behind the last range of zeros.
    zero_end: Option<u64>,
}

/// Opens the file of the disk of this number, which must be what it was; `named` if the user said
/// where it is.
fn open(
    config: &DiskConfig,
    header: &DiskHeader,
    changes: Changes,
    number: usize,
    named: bool,
) -> Result<DiskImage, ReadError> {
    let role = Role::Disk(number);
    let path = || config.path.clone();
    // What a machine that goes on writes never reaches the file that others go on from.
    let access = if config.read_only {
        Access::Read
    } else {
        Access::Overlay
    };
    let disk = Disk::open(&config.path, access).map_err(|error| ReadError::Needed {
        path: path(),
        why: match error {
            DiskError::Open(error) => error.to_string(),
            DiskError::Kind => "it is neither a file nor a block device".into(),
            DiskError::Locked => "it is in use by another program".into(),
        },
        role,
    })?;
    let size = disk.sectors * SECTOR;
    let fail = |error: io::Error| ReadError::Needed {
        path: path(),
        why: error.to_string(),
        role,
    };
    // With the lock held, so that no machine of ours writes the file after this. The size first: it
    // may spare reading all of a large file.
    if size != header.size || hash(disk.storage.file(), size).map_err(fail)? != header.sha256 {
        return Err(if named {
            ReadError::Other(path(), role)
        } else {
            ReadError::Changed(path(), role)
        });
    }
    Ok(DiskImage {
        file: Arc::clone(disk.storage.file()),
        changes: Arc::new(changes),
        sectors: disk.sectors,
        read_only: config.read_only,
    })
}
