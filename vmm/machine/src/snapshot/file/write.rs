//! Writes a snapshot.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};
use vmm_devices::disk::SECTOR;
use vmm_devices::disk::storage::BLOCK;

use super::spec::{BLOCKS, DiskHeader, FORM, HEADER, Header, PAGES, RUN, STATE, ZEROS};
use crate::Snapshot;
use crate::sections::Writer;
use crate::snapshot::disk::DiskImage;
use crate::snapshot::memory::{PAGE, data};

/// Writes `snapshot` to `out`.
///
/// # Errors
/// `out` cannot be written, or memory or a disk cannot be read.
pub fn write(snapshot: &Snapshot, out: impl Write) -> io::Result<()> {
    let mut sections = Writer::new(&FORM, out)?;
    let inner = &*snapshot.0;
    let header = Header {
        producer: concat!("vmm ", env!("CARGO_PKG_VERSION")).into(),
        guest_ns: snapshot.guest_ns(),
        instructions: snapshot.instructions(),
        // Who reads the file may be in another directory.
        config: inner.config.absolute()?,
        disks: inner.disks.iter().map(describe).collect::<Result<_, _>>()?,
    };
    sections.add(HEADER, &[&serde_json::to_vec(&header)?])?;
    sections.add(STATE, &[&serde_json::to_vec(&inner.state)?])?;
    pages(&mut sections, inner.memory.file(), inner.memory.size())?;
    for (number, disk) in (0u32..).zip(&inner.disks) {
        blocks(&mut sections, number, disk)?;
    }
    sections.finish().map(drop)
}

fn describe(disk: &DiskImage) -> io::Result<DiskHeader> {
    let size = disk.sectors * SECTOR;
    Ok(DiskHeader {
        size,
        sha256: hash(&disk.file, size)?,
        changed: disk.changes.written(),
        zeroed: disk.changes.zeros().len() as u64,
    })
}

/// Returns the SHA-256 of the first `size` bytes of `file`.
pub(super) fn hash(file: &File, size: u64) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; RUN];
    let mut at = 0;
    while at < size {
        #[expect(clippy::cast_possible_truncation, reason = "it is at most RUN")]
        let part = &mut buffer[..(size - at).min(RUN as u64) as usize];
        file.read_exact_at(part, at)?;
        hasher.update(&*part);
        at += part.len() as u64;
    }
    Ok(format!("{:x}", hasher.finalize()))
}

#[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
fn pages(sections: &mut Writer<impl Write>, memory: &File, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; RUN];
    for run in data(memory, size)? {
        // Holes are made of the host's pages.
        let mut at = run.start / PAGE as u64 * PAGE as u64;
        while at < run.end {
            // RAM and runs are whole pages, so that rounding up below stays within the buffer.
            let part = &mut buffer[..(size - at).min(RUN as u64) as usize];
            let len = part
                .len()
                .min((run.end - at) as usize)
                .next_multiple_of(PAGE);
            let part = &mut part[..len];
            memory.read_exact_at(part, at)?;
            sections.add(PAGES, &[&at.to_le_bytes(), part])?;
            at += len as u64;
        }
    }
    Ok(())
}

fn blocks(sections: &mut Writer<impl Write>, disk: u32, image: &DiskImage) -> io::Result<()> {
    let mut run: Vec<u8> = Vec::new();
    let mut first = 0;
    let number = disk.to_le_bytes();
    // Zeros first: the reader takes none behind blocks. Each range takes 16 bytes of a section.
    let zeros: Vec<_> = image.changes.zeros().collect();
    for zeros in zeros.chunks(RUN / 16) {
        let words = zeros.iter().flat_map(|range| [range.start, range.end]);
        let words: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        sections.add(ZEROS, &[&number, &words])?;
    }
    for changed in image.changes.blocks() {
        let (block, bytes) = changed?;
        // Blocks that follow each other share a section, until it is as long as one may be.
        let next = first + (run.len() / BLOCK) as u64;
        if !run.is_empty() && (block != next || run.len() >= RUN) {
            sections.add(BLOCKS, &[&number, &first.to_le_bytes(), &run])?;
            run.clear();
        }
        if run.is_empty() {
            first = block;
        }
        run.extend_from_slice(&*bytes);
    }
    if run.is_empty() {
        return Ok(());
    }
    sections.add(BLOCKS, &[&number, &first.to_le_bytes(), &run])
}
