//! The memory of a snapshot: written once, then mapped copy-on-write by every machine that goes on
//! from it.

mod rewind;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range as Pages;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, memfd_create, seek};
use rustix::io::Errno;
use rustix::param::page_size;
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress,
};
use vmm_devices::ram::{CodeMarks, GuestRam};

/// What is found to be zero, or not, at once: a page of the guest.
pub(in super::super) const PAGE: usize = 4096;
/// Bytes copied at a time: what a processor's cache holds.
pub(super) const CHUNK: usize = 64 << 10;
/// Bytes that a thread copies before it looks for more.
const PIECE: usize = 1 << 20;
/// As many pieces are worth a thread.
const PIECES_OF_A_THREAD: usize = 8;
/// Most threads that copy at once.
const MOST_THREADS: usize = 8;
/// How often it is tried to seal memory at most.
const SEAL_TRIES: usize = 50;

/// The contents of RAM at one moment. Pages that hold zeros only take no room.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    file: Arc<File>,
    size: u64,
    /// What [`Memory::rewind`] copies from, once it has been needed; `None` in it if the host
    /// refused to map it.
    original: Arc<OnceLock<Option<MmapRegion>>>,
}

impl Memory {
    /// Copies all of `ram`, which is one region.
    ///
    /// # Errors
    /// The host has no room, or `ram` has no region.
    pub fn capture(ram: &GuestRam) -> io::Result<Self> {
        let region = ram.iter().next();
        let region = region.ok_or_else(|| io::Error::other("the machine has no memory"))?;
        let blank = Blank::new(region.len())?;
        let pieces: Vec<Pages<u64>> = touched(region)?.into_iter().flat_map(pieces).collect();
        let next = AtomicUsize::new(0);
        let copy = || -> io::Result<()> {
            let mut buffer = vec![0; CHUNK];
            // Relaxed will do: each piece is taken once, and the end of the scope orders what was
            // copied.
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                copy_piece(region, piece, &blank, &mut buffer)?;
            }
            Ok(())
        };
        // What takes the time is the host finding pages, which it can for several threads at once.
        let helpers = pieces.len().div_ceil(PIECES_OF_A_THREAD);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // One less, as the calling thread copies, too.
        let helpers = helpers.min(cores).min(MOST_THREADS).saturating_sub(1);
        thread::scope(|scope| {
            let spawn = |_| vmm_base::thread::spawn_scoped(scope, "copy", copy);
            // A thread that cannot be had leaves its part to the others.
            let others: Vec<_> = (0..helpers).map_while(|n| spawn(n).ok()).collect();
            let gone = || io::Error::other("a thread that copies memory ended early");
            let ended = others.into_iter().map(|other| other.join());
            // This thread's own `copy` is evaluated first: it works before it joins the others.
            ended.fold(copy(), |all, one| all.and(one.map_err(|_| gone())?))
        })?;
        blank.seal()
    }

    /// Returns the size in bytes, zeros included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes take room.
    ///
    /// # Errors
    /// The host does not tell where the file has data.
    pub fn stored(&self) -> io::Result<u64> {
        Ok(data(&self.file, self.size)?
            .iter()
            .map(|run| run.end - run.start)
            .sum())
    }

    /// Returns the file, for whoever writes it elsewhere.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Maps memory at `base` that begins with these contents; what is written to it is its own.
    ///
    /// # Errors
    /// The host refuses the mapping.
    pub fn map(&self, base: u64) -> io::Result<Arc<GuestRam>> {
        let offset = FileOffset::from_arc(Arc::clone(&self.file), 0);
        let size = usize::try_from(self.size).map_err(io::Error::other)?;
        // Most pages are never written, so the host need not set memory aside for all of them.
        // Private, so that writes stay the machine's own; the seals
        // allow no other writable mapping.
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let region =
            MmapRegion::build(Some(offset), size, prot, flags).map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(region, GuestAddress(base))
            .ok_or_else(|| io::Error::other("the memory does not fit"))?;
        rewind::unwritten(&region).forget();
        let memory = GuestRam::from_regions(vec![region]).map_err(io::Error::other)?;
        Ok(Arc::new(memory))
    }
}

/// Cuts a run of pages into pieces.
fn pieces(run: Pages<u64>) -> impl Iterator<Item = Pages<u64>> {
    let starts = (run.start..run.end).step_by(PIECE);
    starts.map(move |at| at..run.end.min(at + PIECE as u64))
}

/// Copies `piece` of `region` to its place in `blank`, by way of `buffer`.
fn copy_piece(
    region: &GuestRegionMmap<CodeMarks>,
    piece: &Pages<u64>,
    blank: &Blank,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut at = piece.start;
    while at < piece.end {
        #[expect(clippy::cast_possible_truncation, reason = "it is at most CHUNK")]
        let part = &mut buffer[..(piece.end - at).min(CHUNK as u64) as usize];
        region
            .read_slice(part, MemoryRegionAddress(at))
            .map_err(io::Error::other)?;
        blank.write(at, part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Memory that is being written.
#[derive(Debug)]
pub(super) struct Blank {
    file: File,
    size: u64,
}

impl Blank {
    /// Creates memory of `size` bytes of zeros.
    ///
    /// # Errors
    /// The host refuses the file.
    pub fn new(size: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("guest-memory", flags)?);
        // One hole at first, which reads as zeros.
        file.set_len(size)?;
        Ok(Self { file, size })
    }

    /// Writes `bytes`, whole pages, at `offset`; pages of zeros, which are there already, are left
    /// out.
    ///
    /// # Errors
    /// The host has no room.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut from = 0;
        while from < bytes.len() {
            // One call for pages that follow each other. Pages of zeros
            // stay holes, which take no room.
            let full = |at: &usize| bytes[*at..].chunks(PAGE).next().is_some_and(is_full);
            let pages = || (from..bytes.len()).step_by(PAGE);
            let run = pages().take_while(full).count();
            if run == 0 {
                from += PAGE * pages().take_while(|at| !full(at)).count();
                continue;
            }
            let to = (from + run * PAGE).min(bytes.len());
            self.file
                .write_all_at(&bytes[from..to], offset + from as u64)?;
            from = to;
        }
        Ok(())
    }

    /// Returns the memory; from here on nobody can change it.
    ///
    /// # Errors
    /// The host refuses the seals.
    pub fn seal(self) -> io::Result<Memory> {
        // Mappings show the file's own pages until they are written to: a change
        // to it would reach every machine.
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        while_busy(|| fcntl_add_seals(&self.file, all))?;
        Ok(Memory {
            file: Arc::new(self.file),
            size: self.size,
            original: Arc::default(),
        })
    }
}

/// Seals a file that nobody else has. The kernel refuses while it holds a page of it itself, as
/// when it moves one, and has then waited some time already.
fn while_busy(mut seal: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 1..SEAL_TRIES {
        match seal() {
            Err(Errno::BUSY) => thread::yield_now(),
            sealed => return sealed,
        }
    }
    seal()
}

/// Returns whether a page is not all zeros.
fn is_full(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<8>();
    words.iter().any(|word| u64::from_ne_bytes(*word) != 0) || rest.iter().any(|byte| *byte != 0)
}

/// Returns what of `region` may not be zeros, in bytes from its start: what lies in the file below
/// it, and what was touched since it was mapped.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the region is mapped, so its pages can be counted"
)]
pub(in super::super) fn touched(
    region: &GuestRegionMmap<CodeMarks>,
) -> io::Result<Vec<Pages<u64>>> {
    let page = page_size() as u64;
    let pages = region.len().div_ceil(page);
    let mut map = match present(region, pages) {
        Ok(map) => map,
        // Without /proc everything is looked at.
        Err(_) => return Ok(std::iter::once(0..region.len()).collect()),
    };
    // A page of the file that nobody touched is not present, and need not be zero.
    if let Some(below) = region.file_offset() {
        for run in data(below.file(), region.len())? {
            // Within the map: `data` cuts runs off at the length of the region.
            map[(run.start / page) as usize..run.end.div_ceil(page) as usize].fill(true);
        }
    }
    let mut runs: Vec<Pages<u64>> = Vec::new();
    for (number, _) in (0u64..).zip(&map).filter(|(_, touched)| **touched) {
        let (start, end) = (number * page, ((number + 1) * page).min(region.len()));
        match runs.last_mut().filter(|run| run.end == start) {
            Some(run) => run.end = end,
            None => runs.push(start..end),
        }
    }
    Ok(runs)
}

/// Returns which pages of `region` this process has in memory or in swap (Linux,
/// Documentation/admin-guide/mm/pagemap.rst).
fn present(region: &GuestRegionMmap<CodeMarks>, pages: u64) -> io::Result<Vec<bool>> {
    /// Bits of an entry: present, swapped.
    const THERE: u64 = 1 << 63 | 1 << 62;
    let host = region
        .get_host_address(MemoryRegionAddress(0))
        .map_err(io::Error::other)?;
    // One entry of 8 bytes for each page. These bits are shown to all users; frame numbers are not.
    let first = host.addr() as u64 / page_size() as u64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the region is mapped, so its pages can be counted"
    )]
    let mut entries = vec![0; pages as usize * 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, first * 8)?;
    let entries = entries.as_chunks().0.iter();
    Ok(entries
        .map(|entry| u64::from_ne_bytes(*entry) & THERE != 0)
        .collect())
}

/// Returns what of the first `size` bytes of `file` is not a hole.
pub(super) fn data(file: &File, size: u64) -> io::Result<Vec<Pages<u64>>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            // ENXIO: only a hole is left (lseek(2)). Otherwise the next data
            // lies beyond what is asked for.
            Ok(_) | Err(Errno::NXIO) => break,
            // It knows of no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        // Where no hole can be asked for, all the rest counts as data:
        // more is copied, and nothing lost.
        let end = seek(file, SeekFrom::Hole(start)).unwrap_or(size).min(size);
        runs.push(start..end);
        // One byte at least, so that this ends even if a file system finds data of no length.
        at = end.max(start + 1);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x4000_0000;

    fn fresh(size: usize) -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(BASE), size)]).unwrap()
    }

    fn get(memory: &GuestRam, at: u64) -> u8 {
        memory.read_obj(GuestAddress(BASE + at)).unwrap()
    }

    fn put(memory: &GuestRam, at: u64, value: u8) {
        memory.write_obj(value, GuestAddress(BASE + at)).unwrap();
    }

    #[test]
    fn sealing_is_tried_again_while_the_kernel_holds_a_page() {
        let tries = |busy: usize, then: Result<(), Errno>| {
            let mut made = 0;
            let sealed = while_busy(|| {
                made += 1;
                if made <= busy { Err(Errno::BUSY) } else { then }
            });
            (made, sealed)
        };
        assert_eq!(tries(2, Ok(())), (3, Ok(())));
        assert_eq!(tries(1, Err(Errno::PERM)), (2, Err(Errno::PERM)));
        assert_eq!(tries(usize::MAX, Ok(())), (SEAL_TRIES, Err(Errno::BUSY)));
    }

    #[test]
    fn each_machine_has_what_was_and_what_it_writes_itself() {
        let first = fresh(1 << 20);
        put(&first, 5, 1);
        put(&first, 0x8_0000, 2);
        let memory = Memory::capture(&first).unwrap();
        put(&first, 5, 9);
        let (a, b) = (memory.map(BASE).unwrap(), memory.map(BASE).unwrap());
        put(&a, 0x1000, 3);
        put(&a, 0x8_0000, 4);
        assert_eq!([get(&a, 5), get(&a, 0x1000), get(&a, 0x8_0000)], [1, 3, 4]);
        assert_eq!([get(&b, 5), get(&b, 0x1000), get(&b, 0x8_0000)], [1, 0, 2]);
    }

    #[test]
    fn a_copy_of_a_copy_has_everything_and_no_more() {
        let first = fresh(1 << 20);
        put(&first, 5, 1);
        put(&first, 0x5000, 2);
        let second = Memory::capture(&first).unwrap().map(BASE).unwrap();
        put(&second, 5, 0);
        put(&second, 0x9000, 3);
        // Read, not written.
        get(&second, 0x7_0000);
        let third = Memory::capture(&second).unwrap();
        let page = page_size() as u64;
        assert_eq!(third.stored().unwrap(), 2 * page);
        let third = third.map(BASE).unwrap();
        assert_eq!(
            [get(&third, 5), get(&third, 0x5000), get(&third, 0x9000)],
            [0, 2, 3]
        );
    }

    #[test]
    fn much_is_copied_whole() {
        // Enough for several threads; every page has its own contents but for some of zeros.
        let (size, page) = (3 * PIECES_OF_A_THREAD * PIECE + PAGE, PAGE as u64);
        let first = fresh(size);
        let contents = |n: u64| (n % 251) as u8;
        for n in 0..size as u64 / page {
            put(&first, n * page + n % page, contents(n));
        }
        let memory = Memory::capture(&first).unwrap();
        let second = memory.map(BASE).unwrap();
        let zeros = (0..size as u64 / page).filter(|n| contents(*n) == 0);
        let full = size as u64 - zeros.count() as u64 * page;
        assert_eq!(memory.stored().unwrap(), full);
        for n in 0..size as u64 / page {
            assert_eq!(get(&second, n * page + n % page), contents(n), "page {n}");
        }
    }

    #[test]
    fn a_rewound_one_is_as_it_was_in_its_place() {
        let first = fresh(1 << 20);
        put(&first, 5, 1);
        let memory = Memory::capture(&first).unwrap();
        let mut second = memory.map(BASE).unwrap();
        let host = second.get_host_address(GuestAddress(BASE)).unwrap();
        put(&second, 5, 7);
        put(&second, 0x3000, 7);
        assert!(memory.rewind(Arc::get_mut(&mut second).unwrap()));
        assert_eq!([get(&second, 5), get(&second, 0x3000)], [1, 0]);
        assert_eq!(second.get_host_address(GuestAddress(BASE)).unwrap(), host);
    }

    #[test]
    fn nobody_can_change_it() {
        let memory = Memory::capture(&fresh(1 << 20)).unwrap();
        memory.file().write_all_at(b"x", 0).unwrap_err();
        memory.file().set_len(0).unwrap_err();
        assert_eq!((memory.size(), memory.stored().unwrap()), (1 << 20, 0));
    }

    #[test]
    fn zeros_between_pages_are_left_out() {
        let blank = Blank::new(8 * PAGE as u64).unwrap();
        let mut bytes = vec![0; 6 * PAGE];
        bytes[PAGE] = 1;
        bytes[5 * PAGE + 1] = 2;
        blank.write(PAGE as u64, &bytes).unwrap();
        let memory = blank.seal().unwrap();
        let page = PAGE as u64;
        if page_size() == PAGE {
            assert_eq!(
                data(memory.file(), 8 * page).unwrap(),
                [2 * page..3 * page, 6 * page..7 * page]
            );
        }
        let mut back = vec![0xff; 6 * PAGE];
        memory.file().read_exact_at(&mut back, page).unwrap();
        assert_eq!(back, bytes);
    }
}
