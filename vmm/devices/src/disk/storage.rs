//! Where a disk's contents are: in its file, or in memory on top of a file that is only read.
//!
//! With [`Storage::overlay`] what the guest writes is kept apart, a block at a time, and the file
//! stays as it is. Any number of overlays share one file and what others wrote before they were
//! made.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};
use vmm_sys_util::write_zeroes::{PunchHole, WriteZeroesAt};

pub use super::overlay::{BLOCK, Bytes, Changes, Found, OverlayLimits, OverlaySummary};

/// A disk's contents, with a position at which they are read and written.
#[derive(Debug)]
pub struct Storage {
    file: Arc<File>,
    position: u64,
    /// The changes on top of the file; `None` if the file itself is written.
    overlay: Option<Overlay>,
}

/// Blocks on top of a file: those of its own, and below those that it shares.
#[derive(Debug, Default)]
struct Overlay {
    shared: Arc<Changes>,
    own: Changes,
}

impl Overlay {
    fn get(&self, block: u64) -> io::Result<Option<Found>> {
        match self.own.get(block)? {
            None => self.shared.get(block),
            found => Ok(found),
        }
    }
}

impl Storage {
    /// Creates storage that reads and writes `file`.
    pub fn direct(file: File) -> Self {
        Self {
            file: Arc::new(file),
            position: 0,
            overlay: None,
        }
    }

    /// Creates storage that reads `file` with `changes` on top. The file is never written.
    pub fn overlay(file: Arc<File>, changes: Arc<Changes>) -> Self {
        Self {
            file,
            position: 0,
            overlay: Some(Overlay {
                own: Changes::with_limits(changes.limits()),
                shared: changes,
            }),
        }
    }

    /// Returns the file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns all that differs from the file; `None` when the file itself is written.
    pub fn changes(&self) -> Option<Arc<Changes>> {
        let overlay = self.overlay.as_ref()?;
        if overlay.own.is_empty() {
            return Some(Arc::clone(&overlay.shared));
        }
        // A clone, as other overlays share what lies below. Blocks themselves are shared until
        // written.
        let mut all = (*overlay.shared).clone();
        all.absorb(&overlay.own);
        Some(Arc::new(all))
    }

    /// Returns how much the overlay takes; `None` when the file itself is written.
    pub fn summary(&self) -> Option<OverlaySummary> {
        let overlay = self.overlay.as_ref()?;
        Some(overlay.shared.summary().and(overlay.own.summary()))
    }

    /// Returns what block `block` holds.
    fn block(&self, block: u64) -> io::Result<Arc<Bytes>> {
        let overlay = self.overlay.as_ref();
        let found = overlay.map_or(Ok(None), |overlay| overlay.get(block))?;
        Ok(match found {
            Some(Found::Written(bytes)) => bytes,
            Some(Found::Zero) => Arc::new([0; BLOCK]),
            None => Arc::new(read_block(&self.file, block)?),
        })
    }

    /// Sets the offset at which reads and writes go on.
    ///
    /// # Errors
    /// The host refuses.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.position = offset;
        // Only a file that is used directly has its own position moved; overlays share theirs and
        // read at offsets.
        if self.overlay.is_none() {
            (&*self.file).seek(SeekFrom::Start(offset))?;
        }
        Ok(())
    }

    /// Fills `data` with what is there from `offset` on, whatever the position; what is beyond the
    /// end is zero.
    ///
    /// # Errors
    /// The host refuses.
    pub fn read_at(&self, mut offset: u64, mut data: &mut [u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (block, at, len) = part(offset, data.len());
            let (now, later) = data.split_at_mut(len);
            now.copy_from_slice(&self.block(block)?[at..at + len]);
            offset += len as u64;
            data = later;
        }
        Ok(())
    }

    /// Returns the file that is to be synced for what was written to survive; none for an overlay,
    /// which never does.
    pub fn to_sync(&self) -> Option<&Arc<File>> {
        self.overlay.is_none().then_some(&self.file)
    }

    /// Zeroes `length` bytes from `offset` on; their room is given back if `unmap` allows it and
    /// the host can.
    ///
    /// # Errors
    /// The host refuses.
    #[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
    pub fn zero(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        if self.overlay.is_some() {
            return self.zero_blocks(offset, length, false);
        }
        // The trait wants it mutable, and a second descriptor is the same file.
        let mut file = self.file.try_clone()?;
        // Whatever keeps the host from making a hole, zeros can still be written.
        if unmap && file.punch_hole(offset, length).is_ok() {
            return Ok(());
        }
        file.write_all_zeroes_at(offset, length as usize)
    }

    /// Gives back the room of `length` bytes from `offset` on, which are no longer needed. That is
    /// a hint: a file system that cannot make holes is no error.
    ///
    /// # Errors
    /// The host refuses.
    pub fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.overlay.is_some() {
            return self.zero_blocks(offset, length, true);
        }
        let unsupported = rustix::io::Errno::OPNOTSUPP.raw_os_error();
        match self.file.try_clone()?.punch_hole(offset, length) {
            Err(error) if error.raw_os_error() == Some(unsupported) => Ok(()),
            result => result,
        }
    }

    /// Zeroes a range of an overlay. Whole blocks of it may stay as they are if it is only a hint.
    #[expect(clippy::cast_possible_truncation, reason = "it is at most a block")]
    fn zero_blocks(&mut self, mut offset: u64, length: u64, hint: bool) -> io::Result<()> {
        let end = offset.saturating_add(length);
        // Empty, or even inverted, where no whole block lies in the range.
        let whole = offset.div_ceil(BLOCK as u64)..end / BLOCK as u64;
        let zeroed = match &mut self.overlay {
            Some(overlay) if !whole.is_empty() => overlay.own.zero(whole.clone()) || hint,
            // Where no range may be added, blocks are zeroed one by one; a hint does without.
            _ => false,
        };
        while offset < end {
            // The partial blocks at both ends are left, which are changed one by one.
            if zeroed
                && whole.contains(&(offset / BLOCK as u64))
                && offset.is_multiple_of(BLOCK as u64)
            {
                offset = whole.end * BLOCK as u64;
                continue;
            }
            let part = (BLOCK as u64 - offset % BLOCK as u64).min(end - offset);
            self.change(offset, part as usize, |bytes| bytes.fill(0))?;
            offset += part;
        }
        Ok(())
    }

    /// Has `change` set the `len` bytes from `offset` on, all of one block of the overlay.
    fn change(
        &mut self,
        offset: u64,
        len: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        let block = offset / BLOCK as u64;
        #[expect(clippy::cast_possible_truncation, reason = "it is below a block")]
        let at = (offset % BLOCK as u64) as usize;
        let Some(overlay) = &mut self.overlay else {
            return Ok(());
        };
        // In place if possible, as small writes to one block often follow each other.
        if let Some(bytes) = overlay.own.in_memory(block) {
            change(&mut bytes[at..at + len]);
            return Ok(());
        }
        let mut bytes = [0; BLOCK];
        // A whole block is overwritten, so what was there need not be read.
        if len < BLOCK {
            bytes = *self.block(block)?;
        }
        change(&mut bytes[at..at + len]);
        // Borrowed anew: reading the block needed all of the storage.
        match &mut self.overlay {
            Some(Overlay { shared, own }) => own.put(block, &bytes, shared),
            None => Ok(()),
        }
    }
}

/// Reads a block of a file; what is beyond its end is zero.
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

/// Returns the part of `len` bytes from `position` on that is in one block: the block, the offset
/// in it, and the length.
#[expect(clippy::cast_possible_truncation, reason = "it is below a block")]
fn part(position: u64, len: usize) -> (u64, usize, usize) {
    let at = (position % BLOCK as u64) as usize;
    (position / BLOCK as u64, at, len.min(BLOCK - at))
}

impl ReadVolatile for Storage {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buf: &mut VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        if self.overlay.is_none() {
            return (&*self.file).read_volatile(buf);
        }
        // All of it, as a file does: whoever reads into guest memory takes a shorter read for the
        // end.
        let mut done = 0;
        while done < buf.len() {
            let (block, at, len) = part(self.position, buf.len() - done);
            let bytes = self.block(block).map_err(VolatileMemoryError::IOError)?;
            buf.subslice(done, len)?.copy_from(&bytes[at..at + len]);
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
#[expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]
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
        fn an_overlay_shows_what_a_written_file_would(
            steps in prop::collection::vec(step(), 1..40),
            (memory, ranges) in (0..4_usize, 0..3_usize),
        ) {
            let file = Arc::new(base());
            let mut direct = Storage::direct(base());
            let limits = OverlayLimits {
                memory,
                ranges,
                ..OverlayLimits::default()
            };
            let none = Arc::new(Changes::with_limits(limits));
            let mut overlay = Storage::overlay(Arc::clone(&file), none);
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
                    // Zeros while their ranges are not too many, and then what was there.
                    Step::Discard(at, len) => {
                        overlay.discard(at, len).unwrap();
                        let mut now = read(&mut overlay, at, len as usize);
                        let before = read(&mut direct, at, len as usize);
                        prop_assert!(now.iter().zip(&before).all(|(now, was)| *now == 0 || now == was));
                        direct.seek(at).unwrap();
                        let slice = VolatileSlice::from(now.as_mut_slice());
                        prop_assert_eq!(direct.write_volatile(&slice).unwrap(), slice.len());
                    }
                    Step::Read(at, len) => {
                        prop_assert_eq!(read(&mut direct, at, len), read(&mut overlay, at, len));
                    }
                    // One that begins with what this one has changed.
                    Step::Again => {
                        let changes = overlay.changes().unwrap();
                        let next = Storage::overlay(Arc::clone(&file), changes);
                        let mut old = std::mem::replace(&mut overlay, next);
                        let mut ones = vec![0xff; SIZE];
                        old.seek(0).unwrap();
                        old.write_all_volatile(&VolatileSlice::from(ones.as_mut_slice())).unwrap();
                        old.zero(BLOCK as u64, 2 * BLOCK as u64, false).unwrap();
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

    #[test]
    fn zeros_take_no_room_and_blocks_beyond_the_limit_are_in_a_file() {
        const GIB: u64 = 1 << 30;
        let mut overlay = Storage::overlay(Arc::new(base()), Arc::default());
        overlay.discard(0, 4096 * GIB).unwrap();
        overlay.zero(1, 4096 * GIB, true).unwrap();
        let summary = overlay.summary().unwrap();
        assert!(summary.memory_bytes <= 2 * BLOCK as u64, "{summary:?}");
        assert!(summary.zero_ranges <= 2, "{summary:?}");
        let limits = OverlayLimits {
            memory: 2,
            blocks: 5,
            ranges: 1,
        };
        let none = Arc::new(Changes::with_limits(limits));
        let mut overlay = Storage::overlay(Arc::new(base()), none);
        let mut block = vec![7; BLOCK];
        for n in 0..6 {
            overlay.seek(n * BLOCK as u64).unwrap();
            let written = overlay.write_all_volatile(&VolatileSlice::from(block.as_mut_slice()));
            assert_eq!(written.is_ok(), n < 5, "{n}: {written:?}");
        }
        let summary = overlay.summary().unwrap();
        let bytes = (summary.memory_bytes, summary.file_bytes);
        assert_eq!(bytes, (2 * BLOCK as u64, 3 * BLOCK as u64));
        // One range of zeros is all that there may be; a second one is a block of its own, or stays
        // as it was.
        overlay.discard(0, BLOCK as u64).unwrap();
        overlay.discard(2 * BLOCK as u64, BLOCK as u64).unwrap();
        overlay.zero(4 * BLOCK as u64, BLOCK as u64, false).unwrap();
        let firsts = [0, 2, 4].map(|n| read(&mut overlay, n * BLOCK as u64, 1)[0]);
        assert_eq!(firsts, [0, 7, 0]);
    }

    #[test]
    fn blocks_that_are_written_into_zeros_make_no_more_ranges_of_them() {
        let none = Arc::new(Changes::with_limits(OverlayLimits {
            memory: 8,
            blocks: 8,
            ranges: 1,
        }));
        let mut overlay = Storage::overlay(Arc::new(base()), none);
        overlay.discard(0, 5 * BLOCK as u64).unwrap();
        let mut block = vec![7; BLOCK];
        for n in [1, 3] {
            overlay.seek(n * BLOCK as u64).unwrap();
            let written = VolatileSlice::from(block.as_mut_slice());
            overlay.write_all_volatile(&written).unwrap();
        }
        assert_eq!(overlay.summary().unwrap().zero_ranges, 1);
        let firsts =
            |overlay: &mut Storage| [0, 1, 2, 3, 4].map(|n| read(overlay, n * BLOCK as u64, 1)[0]);
        assert_eq!(firsts(&mut overlay), [0, 7, 0, 7, 0]);
        // What is zeroed again is zero, also on top of what was written.
        let mut above = Storage::overlay(Arc::new(base()), overlay.changes().unwrap());
        assert_eq!(firsts(&mut above), [0, 7, 0, 7, 0]);
        above.discard(BLOCK as u64, BLOCK as u64).unwrap();
        assert_eq!(firsts(&mut above), [0, 0, 0, 7, 0]);
        let merged = above.changes().unwrap();
        assert_eq!(
            firsts(&mut Storage::overlay(Arc::new(base()), merged)),
            [0, 0, 0, 7, 0]
        );
    }

    fn base_bytes(into: &mut Vec<u8>) {
        let mut file = base();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(into).unwrap();
    }
}
