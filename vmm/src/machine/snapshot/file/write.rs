//! Writes a snapshot.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc32fast::Hasher;
use sha2::{Digest, Sha256};

use super::spec::{DiskHeader, Header, Kind, MAGIC, VERSION};
use crate::devices::virtio::block::spec::SECTOR;
use crate::devices::virtio::block::storage::BLOCK;
use crate::machine::snapshot::disk::DiskImage;
use crate::machine::snapshot::memory::{PAGE, data};
use crate::machine::{Config, Snapshot};

/// Bytes of memory or of a disk in one section.
const RUN: usize = 1 << 20;

/// A file that is being written.
struct Sections<W> {
    out: W,
    count: u64,
}

impl<W: Write> Sections<W> {
    fn add(&mut self, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).ok().filter(|l| *l <= kind.limit());
        let length = length.ok_or_else(|| io::Error::other("a part of it is too large"))?;
        let mut crc = Hasher::new();
        let head = [(kind as u32).to_le_bytes(), length.to_le_bytes()].concat();
        crc.update(&head);
        parts.iter().for_each(|part| crc.update(part));
        self.out.write_all(&head)?;
        self.out.write_all(&crc.finalize().to_le_bytes())?;
        parts.iter().try_for_each(|part| self.out.write_all(part))?;
        self.count += 1;
        Ok(())
    }
}

/// Writes `snapshot` to `out`.
pub fn write(snapshot: &Snapshot, mut out: impl Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    let mut sections = Sections { out, count: 0 };
    let inner = &*snapshot.0;
    let header = Header {
        producer: concat!("vmm ", env!("CARGO_PKG_VERSION")).into(),
        guest_ns: snapshot.guest_ns(),
        instructions: snapshot.instructions(),
        config: absolute(&inner.config)?,
        disks: inner.disks.iter().map(describe).collect::<Result<_, _>>()?,
    };
    sections.add(Kind::Header, &[&serde_json::to_vec(&header)?])?;
    sections.add(Kind::State, &[&serde_json::to_vec(&inner.state)?])?;
    pages(&mut sections, inner.memory.file(), inner.memory.size())?;
    for (number, disk) in (0u32..).zip(&inner.disks) {
        blocks(&mut sections, number, disk)?;
    }
    let count = sections.count;
    sections.add(Kind::End, &[&count.to_le_bytes()])?;
    sections.out.flush()
}

/// The configuration, with disks that are found from any directory.
fn absolute(config: &Config) -> io::Result<Config> {
    let mut config = config.clone();
    for disk in &mut config.disks {
        disk.path = std::path::absolute(Path::new(&disk.path))?;
    }
    Ok(config)
}

fn describe(disk: &DiskImage) -> io::Result<DiskHeader> {
    let size = disk.sectors * SECTOR;
    Ok(DiskHeader {
        size,
        sha256: hash(&disk.file, size)?,
        changed: disk.changes.len() as u64,
    })
}

/// SHA-256 of the first `size` bytes of `file`.
pub(super) fn hash(file: &File, size: u64) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; RUN];
    let mut at = 0;
    while at < size {
        let part = &mut buffer[..(size - at).min(RUN as u64) as usize];
        file.read_exact_at(part, at)?;
        hasher.update(&*part);
        at += part.len() as u64;
    }
    Ok(format!("{:x}", hasher.finalize()))
}

fn pages(sections: &mut Sections<impl Write>, memory: &File, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; RUN];
    for run in data(memory, size)? {
        // Holes are made of the host's pages.
        let mut at = run.start / PAGE as u64 * PAGE as u64;
        while at < run.end {
            let part = &mut buffer[..(size - at).min(RUN as u64) as usize];
            let len = part
                .len()
                .min((run.end - at) as usize)
                .next_multiple_of(PAGE);
            let part = &mut part[..len];
            memory.read_exact_at(part, at)?;
            sections.add(Kind::Pages, &[&at.to_le_bytes(), part])?;
            at += len as u64;
        }
    }
    Ok(())
}

fn blocks(sections: &mut Sections<impl Write>, disk: u32, image: &DiskImage) -> io::Result<()> {
    let mut run: Vec<u8> = Vec::new();
    let mut first = 0;
    let number = disk.to_le_bytes();
    for (block, bytes) in &*image.changes {
        let next = first + (run.len() / BLOCK) as u64;
        if !run.is_empty() && (*block != next || run.len() >= RUN) {
            sections.add(Kind::Blocks, &[&number, &first.to_le_bytes(), &run])?;
            run.clear();
        }
        if run.is_empty() {
            first = *block;
        }
        run.extend_from_slice(&**bytes);
    }
    if run.is_empty() {
        return Ok(());
    }
    sections.add(Kind::Blocks, &[&number, &first.to_le_bytes(), &run])
}
