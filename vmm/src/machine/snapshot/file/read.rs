//! Reads a snapshot. Whatever the bytes are, the answer is a snapshot or a sentence: nothing is allocated that the file
//! does not hold, and nothing is believed that was not looked at.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use crc32fast::Hasher;

use super::error::ReadError;
use super::spec::{DiskHeader, Header, Kind, MAGIC, VERSION};
use super::write::hash;
use crate::devices::virtio::block::spec::SECTOR;
use crate::devices::virtio::block::storage::{BLOCK, Changes};
use crate::devices::virtio::block::{Access, Disk, DiskError};
use crate::machine::board::Board;
use crate::machine::snapshot::disk::DiskImage;
use crate::machine::snapshot::memory::{Blank, Memory, PAGE};
use crate::machine::snapshot::{Inner, Snapshot};
use crate::machine::{DiskConfig, MachineState};

fn damaged(what: impl Into<String>) -> ReadError {
    ReadError::Damaged(what.into())
}

/// A file that is being read.
struct Sections<R> {
    input: R,
    count: u64,
}

impl<R: Read> Sections<R> {
    /// Reads the file's first bytes.
    fn new(mut input: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        let read = fill(&mut input, &mut magic)?;
        if magic[..read] != MAGIC[..read] || read == 0 {
            return Err(ReadError::Foreign);
        }
        let version = u32::from_le_bytes(exactly(&mut input)?);
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        Ok(Self { input, count: 0 })
    }

    /// The next section.
    fn next(&mut self) -> Result<(Kind, Vec<u8>), ReadError> {
        let head: [u8; 12] = exactly(&mut self.input)?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let kind = Kind::of(word(0)).ok_or_else(|| damaged("a part of it is of no known kind"))?;
        if word(4) > kind.limit() {
            return Err(damaged("a part of it is longer than it can be"));
        }
        let mut contents = Vec::new();
        let length = u64::from(word(4));
        (&mut self.input).take(length).read_to_end(&mut contents)?;
        if contents.len() as u64 != length {
            return Err(ReadError::Truncated);
        }
        let mut crc = Hasher::new();
        crc.update(&head[..8]);
        crc.update(&contents);
        if crc.finalize() != word(8) {
            return Err(damaged("a checksum is wrong"));
        }
        self.count += 1;
        Ok((kind, contents))
    }

    fn expect(&mut self, wanted: Kind) -> Result<Vec<u8>, ReadError> {
        match self.next()? {
            (kind, contents) if kind == wanted => Ok(contents),
            _ => Err(damaged("its parts are in no order that they can be in")),
        }
    }

    fn header(&mut self) -> Result<Header, ReadError> {
        let header: Header = json(&self.expect(Kind::Header)?, "header")?;
        let wrong = |why: String| Err(ReadError::Impossible(why));
        if let Err(error) = header.config.validate() {
            return wrong(error.to_string());
        }
        if header.disks.len() != header.config.disks.len() {
            return wrong("it has another number of disks than their descriptions".into());
        }
        Ok(header)
    }

    /// The end has been read: nothing may follow, and nothing may be missing.
    fn end(&mut self, contents: &[u8]) -> Result<(), ReadError> {
        let count = <[u8; 8]>::try_from(contents).map(u64::from_le_bytes);
        if count.ok() != Some(self.count - 1) {
            return Err(damaged("parts of it are missing"));
        }
        let mut more = [0];
        if fill(&mut self.input, &mut more)? > 0 {
            return Err(damaged("something follows its end"));
        }
        Ok(())
    }
}

/// Reads as much of `bytes` as there is.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match input.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn exactly<const N: usize>(input: &mut impl Read) -> Result<[u8; N], ReadError> {
    let mut bytes = [0; N];
    if fill(input, &mut bytes)? < N {
        return Err(ReadError::Truncated);
    }
    Ok(bytes)
}

fn json<T: for<'de> serde::Deserialize<'de>>(text: &[u8], what: &str) -> Result<T, ReadError> {
    serde_json::from_slice(text)
        .map_err(|error| damaged(format!("its {what} makes no sense ({error})")))
}

/// Reads the whole file and checks all of it, but opens no disk.
pub fn check(input: impl Read) -> Result<Header, ReadError> {
    contents(input).map(|(header, ..)| header)
}

/// Reads a snapshot and opens its disks.
pub fn read(input: impl Read) -> Result<Snapshot, ReadError> {
    let (header, state, memory, changes) = contents(input)?;
    let Header { config, disks, .. } = header;
    let images = config.disks.iter().zip(&disks).zip(changes);
    let images = images.map(|((config, header), changes)| open(config, header, changes));
    Ok(Snapshot(Arc::new(Inner {
        board: Board::new(&config),
        disks: images.collect::<Result<_, _>>()?,
        config,
        state,
        memory,
        kernel: OnceLock::new(),
    })))
}

type Contents = (Header, MachineState, Memory, Vec<Changes>);

fn contents(input: impl Read) -> Result<Contents, ReadError> {
    let mut sections = Sections::new(input)?;
    let header = sections.header()?;
    let state = json(&sections.expect(Kind::State)?, "state")?;
    let size = header.config.ram().size;
    let blank = Blank::new(size)?;
    let mut changes = vec![Changes::new(); header.disks.len()];
    let mut filled = 0;
    loop {
        match sections.next()? {
            (Kind::Pages, contents) => filled = pages(&blank, &contents, filled, size)?,
            (Kind::Blocks, contents) => blocks(&mut changes, &header.disks, &contents)?,
            (Kind::End, contents) => {
                sections.end(&contents)?;
                break;
            }
            (Kind::Header | Kind::State, _) => return Err(damaged("a part of it is there twice")),
        }
    }
    for (changes, disk) in changes.iter().zip(&header.disks) {
        if changes.len() as u64 != disk.changed {
            return Err(damaged("blocks of a disk are missing"));
        }
    }
    Ok((header, state, blank.seal()?, changes))
}

/// Takes pages, which lie behind `filled`; to where memory is filled now.
fn pages(blank: &Blank, contents: &[u8], filled: u64, size: u64) -> Result<u64, ReadError> {
    let wrong = || damaged("it has memory where there can be none");
    let (at, bytes) = contents.split_first_chunk().ok_or_else(wrong)?;
    let at = u64::from_le_bytes(*at);
    let end = at.checked_add(bytes.len() as u64).ok_or_else(wrong)?;
    let whole = at.is_multiple_of(PAGE as u64) && bytes.len().is_multiple_of(PAGE);
    if !whole || bytes.is_empty() || at < filled || end > size {
        return Err(wrong());
    }
    blank.write(at, bytes)?;
    Ok(end)
}

/// Takes blocks of a disk.
fn blocks(changes: &mut [Changes], disks: &[DiskHeader], contents: &[u8]) -> Result<(), ReadError> {
    let wrong = || damaged("it has blocks of a disk where there can be none");
    let (disk, rest) = contents.split_first_chunk().ok_or_else(wrong)?;
    let (first, bytes) = rest.split_first_chunk().ok_or_else(wrong)?;
    let disk = u32::from_le_bytes(*disk) as usize;
    let (Some(changes), Some(header)) = (changes.get_mut(disk), disks.get(disk)) else {
        return Err(wrong());
    };
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let limit = header.size.div_ceil(BLOCK as u64);
    let first = u64::from_le_bytes(*first);
    let end = first.checked_add(blocks.len() as u64).ok_or_else(wrong)?;
    let behind = changes
        .last_key_value()
        .is_none_or(|(last, _)| *last < first);
    if blocks.is_empty() || !rest.is_empty() || !behind || end > limit {
        return Err(wrong());
    }
    changes.extend((first..).zip(blocks.iter().map(|block| Arc::new(*block))));
    Ok(())
}

/// Opens a disk's file, which must be what it was.
fn open(
    config: &DiskConfig,
    header: &DiskHeader,
    changes: Changes,
) -> Result<DiskImage, ReadError> {
    let path = || config.path.clone();
    let access = if config.read_only {
        Access::Read
    } else {
        Access::Overlay
    };
    let disk = Disk::open(&config.path, access).map_err(|error| ReadError::Disk {
        path: path(),
        why: match error {
            DiskError::Open(error) => error.to_string(),
            DiskError::Kind => "it is neither a file nor a block device".into(),
            DiskError::Locked => "it is in use by another program".into(),
        },
    })?;
    let size = disk.sectors * SECTOR;
    let fail = |error: io::Error| ReadError::Disk {
        path: path(),
        why: error.to_string(),
    };
    if size != header.size || hash(disk.storage.file(), size).map_err(fail)? != header.sha256 {
        return Err(ReadError::DiskChanged(path()));
    }
    let changes: BTreeMap<_, _> = changes;
    Ok(DiskImage {
        file: Arc::clone(disk.storage.file()),
        changes: Arc::new(changes),
        sectors: disk.sectors,
        read_only: config.read_only,
    })
}
