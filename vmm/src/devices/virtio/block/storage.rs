//! Where a disk's contents are: in its file, or in memory on top of a file that is only read.
//!
//! With [`Storage::overlay`] what the guest writes stays in memory, a block at a time, and the file stays as it is. Any number
//! of overlays share one file and what others wrote before they were made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};
use vmm_sys_util::write_zeroes::{PunchHole, WriteZeroesAt};

/// Bytes of a block of an overlay: what file systems write at once.
pub const BLOCK: usize = 4096;

/// Blocks that differ from the file, by number.
pub type Changes = BTreeMap<u64, Arc<[u8; BLOCK]>>;

/// A disk's contents, with a position at which they are read and written.
#[derive(Debug)]
pub struct Storage {
    file: Arc<File>,
    position: u64,
    /// What is on top of the file; `None` when it is written itself.
    overlay: Option<Overlay>,
}

/// Blocks on top of a file: those of its own, and below those that it shares.
#[derive(Debug, Default)]
struct Overlay {
    shared: Arc<Changes>,
    own: Changes,
}

impl Overlay {
    fn get(&self, block: u64) -> Option<&Arc<[u8; BLOCK]>> {
        self.own.get(&block).or_else(|| self.shared.get(&block))
    }
}

impl Storage {
    /// The contents of `file`, which is written.
    pub fn direct(file: File) -> Self {
        Self {
            file: Arc::new(file),
            position: 0,
            overlay: None,
        }
    }

    /// The contents of `file` with `changes` on top; it is never written.
    pub fn overlay(file: Arc<File>, changes: Arc<Changes>) -> Self {
        Self {
            file,
            position: 0,
            overlay: Some(Overlay {
                shared: changes,
                own: Changes::new(),
            }),
        }
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// All that differs from the file; `None` when the file itself is written.
    pub fn changes(&self) -> Option<Arc<Changes>> {
        let overlay = self.overlay.as_ref()?;
        if overlay.own.is_empty() {
            return Some(Arc::clone(&overlay.shared));
        }
        let mut all = (*overlay.shared).clone();
        let own = overlay.own.iter();
        all.extend(own.map(|(block, bytes)| (*block, Arc::clone(bytes))));
        Some(Arc::new(all))
    }

    /// Reads and writes go on at `offset`.
    ///
    /// # Errors
    /// The host's.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.position = offset;
        if self.overlay.is_none() {
            (&*self.file).seek(SeekFrom::Start(offset))?;
        }
        Ok(())
    }

    /// Fills `data` with what is there from `offset` on, past the position; what lies beyond the end is zero.
    ///
    /// # Errors
    /// The host's.
    pub fn read_at(&self, mut offset: u64, mut data: &mut [u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (block, at, len) = part(offset, data.len());
            let (now, later) = data.split_at_mut(len);
            match self.overlay.as_ref().and_then(|overlay| overlay.get(block)) {
                Some(bytes) => now.copy_from_slice(&bytes[at..at + len]),
                None => now.copy_from_slice(&read_block(&self.file, block)?[at..at + len]),
            }
            offset += len as u64;
            data = later;
        }
        Ok(())
    }

    /// What was written survives, as far as it ever will.
    ///
    /// # Errors
    /// The host's.
    pub fn sync(&self) -> io::Result<()> {
        match self.overlay {
            None => self.file.sync_data(),
            Some(_) => Ok(()),
        }
    }

    /// `length` bytes from `offset` on are zero; `unmap` if their room may be given back.
    ///
    /// # Errors
    /// The host's.
    pub fn zero(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        if self.overlay.is_some() {
            return self.zero_blocks(offset, length);
        }
        // The trait wants it mutable, and a second descriptor is the same file.
        let mut file = self.file.try_clone()?;
        if unmap && file.punch_hole(offset, length).is_ok() {
            return Ok(());
        }
        file.write_all_zeroes_at(offset, length as usize)
    }

    /// `length` bytes from `offset` on are no longer needed. That is a hint: a file system that cannot make holes is no error.
    ///
    /// # Errors
    /// The host's.
    pub fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.overlay.is_some() {
            return self.zero_blocks(offset, length);
        }
        let unsupported = rustix::io::Errno::OPNOTSUPP.raw_os_error();
        match self.file.try_clone()?.punch_hole(offset, length) {
            Err(error) if error.raw_os_error() == Some(unsupported) => Ok(()),
            result => result,
        }
    }

    fn zero_blocks(&mut self, mut offset: u64, length: u64) -> io::Result<()> {
        let end = offset.saturating_add(length);
        while offset < end {
            let part = (BLOCK as u64 - offset % BLOCK as u64).min(end - offset);
            self.change(offset, part as usize, |bytes| bytes.fill(0))?;
            offset += part;
        }
        Ok(())
    }

    /// Has `change` make the `len` bytes from `offset` on, all of one block of the overlay, what they shall be.
    fn change(
        &mut self,
        offset: u64,
        len: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        let block = offset / BLOCK as u64;
        let at = (offset % BLOCK as u64) as usize;
        let Some(overlay) = &mut self.overlay else {
            return Ok(());
        };
        if !overlay.own.contains_key(&block) {
            let bytes = match overlay.shared.get(&block) {
                Some(bytes) => Arc::clone(bytes),
                // All of it will be replaced.
                None if len == BLOCK => Arc::new([0; BLOCK]),
                None => Arc::new(read_block(&self.file, block)?),
            };
            overlay.own.insert(block, bytes);
        }
        if let Some(bytes) = overlay.own.get_mut(&block) {
            change(&mut Arc::make_mut(bytes)[at..at + len]);
        }
        Ok(())
    }
}

/// A block of a file; what lies beyond its end is zero.
fn read_block(file: &File, block: u64) -> io::Result<[u8; BLOCK]> {
    let mut bytes = [0; BLOCK];
    let mut done = 0;
    while done < BLOCK {
        match file.read_at(&mut bytes[done..], block * BLOCK as u64 + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The part of `len` bytes from `position` on that lies in one block.
fn part(position: u64, len: usize) -> (u64, usize, usize) {
    let at = (position % BLOCK as u64) as usize;
    (position / BLOCK as u64, at, len.min(BLOCK - at))
}

impl ReadVolatile for Storage {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buf: &mut VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        let Some(overlay) = &self.overlay else {
            return (&*self.file).read_volatile(buf);
        };
        // All of it, as a file does: who reads into guest memory takes less for the end.
        let mut done = 0;
        while done < buf.len() {
            let (block, at, len) = part(self.position, buf.len() - done);
            let to = buf.subslice(done, len)?;
            match overlay.get(block) {
                Some(bytes) => to.copy_from(&bytes[at..at + len]),
                None => {
                    let bytes = read_block(&self.file, block);
                    let bytes = bytes.map_err(VolatileMemoryError::IOError)?;
                    to.copy_from(&bytes[at..at + len]);
                }
            }
            self.position += len as u64;
            done += len;
        }
        Ok(done)
    }
}

impl WriteVolatile for Storage {
    fn write_volatile<B: BitmapSlice>(
        &mut self,
        buf: &VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        if self.overlay.is_none() {
            return (&*self.file).write_volatile(buf);
        }
        let mut done = 0;
        while done < buf.len() {
            let (_, _, len) = part(self.position, buf.len() - done);
            let source = buf.subslice(done, len)?;
            self.change(self.position, len, |bytes| {
                source.copy_to(bytes);
            })
            .map_err(VolatileMemoryError::IOError)?;
            self.position += len as u64;
            done += len;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use tempfile::tempfile;

    use super::*;

    const SIZE: usize = 5 * BLOCK;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Zero(u64, u64),
        Discard(u64, u64),
        Read(u64, usize),
        Again,
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = 0..SIZE as u64;
        let len = 0..2 * BLOCK as u64;
        let range = (at.clone(), len).prop_map(|(at, len)| (at, len.min(SIZE as u64 - at)));
        prop_oneof![
            (range.clone(), any::<u8>())
                .prop_map(|((at, len), byte)| Step::Write(at, vec![byte; len as usize])),
            range.clone().prop_map(|(at, len)| Step::Zero(at, len)),
            range.clone().prop_map(|(at, len)| Step::Discard(at, len)),
            range.prop_map(|(at, len)| Step::Read(at, len as usize)),
            Just(Step::Again),
        ]
    }

    fn base() -> File {
        let file = tempfile().unwrap();
        let bytes: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn read(storage: &mut Storage, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        storage.seek(at).unwrap();
        let mut slice = VolatileSlice::from(bytes.as_mut_slice());
        assert_eq!(storage.read_volatile(&mut slice).unwrap(), len);
        bytes
    }

    proptest! {
        #[test]
        fn an_overlay_shows_what_a_written_file_would(steps in prop::collection::vec(step(), 1..40)) {
            let file = Arc::new(base());
            let mut direct = Storage::direct(base());
            let mut overlay = Storage::overlay(Arc::clone(&file), Arc::default());
            for step in steps {
                match step {
                    Step::Write(at, mut bytes) => {
                        for storage in [&mut direct, &mut overlay] {
                            storage.seek(at).unwrap();
                            let slice = VolatileSlice::from(bytes.as_mut_slice());
                            let done = storage.write_volatile(&slice).unwrap();
                            prop_assert_eq!(done, slice.len(), "who copies guest memory asks once");
                        }
                    }
                    Step::Zero(at, len) => {
                        direct.zero(at, len, at % 2 == 0).unwrap();
                        overlay.zero(at, len, at % 2 == 0).unwrap();
                    }
                    // Holes read as zeros where a file system can make them.
                    Step::Discard(at, len) => {
                        direct.zero(at, len, false).unwrap();
                        overlay.discard(at, len).unwrap();
                    }
                    Step::Read(at, len) => {
                        prop_assert_eq!(read(&mut direct, at, len), read(&mut overlay, at, len));
                    }
                    // One that begins with what this one has changed.
                    Step::Again => {
                        let changes = overlay.changes().unwrap();
                        let next = Storage::overlay(Arc::clone(&file), changes);
                        let mut old = std::mem::replace(&mut overlay, next);
                        old.zero(0, SIZE as u64, false).unwrap();
                    }
                }
            }
            prop_assert_eq!(read(&mut direct, 0, SIZE), read(&mut overlay, 0, SIZE));
            let (mut now, mut then) = (Vec::new(), Vec::new());
            (&*file).seek(SeekFrom::Start(0)).unwrap();
            (&*file).read_to_end(&mut now).unwrap();
            base_bytes(&mut then);
            prop_assert!(now == then, "the file below is never written");
        }
    }

    fn base_bytes(into: &mut Vec<u8>) {
        let mut file = base();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(into).unwrap();
    }
}
