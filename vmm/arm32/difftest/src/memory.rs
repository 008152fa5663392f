//! Physical memory for the core under test: the pages of the program at their own addresses,
//! translation tables and a page of vectors.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses have 32 bits and wrap"
)]
#![expect(
    unsafe_code,
    reason = "memory that two processors share is reached by its address"
)]

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use arm32::CodePages;
use arm32::bus::{Bus, BusFault, RamPage, Size};

use crate::image::{Image, Segment};

/// Physical address of the first-level translation table (short descriptors).
pub const TABLES: u32 = 0x8000_0000;
/// Address of the exception vectors, for privileged code only.
pub const VECTORS: u32 = 0xf000_0000;
/// `HVC #0`, in every vector: the core leaves its loop and the vector tells what happened.
const HVC: u32 = 0xe140_0070;

/// Small page: normal write-back memory (TEX 001, C, B) in domain 0; DDI 0406C B3.5.1.
const SMALL_PAGE: u32 = 1 << 6 | 1 << 3 | 1 << 2 | 1 << 1;
/// Small page: not executable.
const XN: u32 = 1;
/// AP: privileged read and write, user nothing.
const AP_PRIVILEGED: u32 = 0b01 << 4;
/// AP: user reads.
const AP_READ: u32 = 0b10 << 4;
/// AP: user reads and writes.
const AP_WRITE: u32 = 0b11 << 4;

/// One page, aligned as the [`Bus`] contract asks.
#[repr(align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

/// Pages that a memory can have: more than any image asks for.
const MAX_PAGES: usize = 1 << 12;

/// The memory. Pages are boxed: their addresses stay what they are.
pub struct Memory {
    pages: BTreeMap<u32, (u32, Box<Page>)>,
    code: CodePages,
}

// SAFETY: pages are reached only by raw pointers handed out by `ram` (used by the one core that
// holds this memory, with volatile accesses) and by `copy_in` and `copy_out`, which the runner
// calls on the thread of that core, between its runs.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

// SAFETY: every page is boxed, 4096-aligned by its type, never removed while `self` lives, and no
// reference to its contents is ever made: all accesses go through raw pointers.
unsafe impl Bus for Memory {
    fn read(&self, _pa: u64, _size: Size) -> Result<u64, BusFault> {
        // Only RAM is mapped: no access gets as far as a device.
        Err(BusFault)
    }

    fn write(&self, _pa: u64, _size: Size, _value: u64) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn ram(&self, pa: u64) -> Option<RamPage> {
        let (number, page) = self.pages.get(&u32::try_from(pa & !0xfff).ok()?)?;
        Some(RamPage {
            host: NonNull::new(page.0.get().cast())?,
            writable: true,
            number: *number,
        })
    }

    fn code_pages(&self) -> &CodePages {
        &self.code
    }
}

impl Memory {
    /// Creates memory for the pages of `image`, mapped with its permissions. The contents come
    /// later, by [`Memory::fill`].
    pub fn new(image: &Image) -> Self {
        let mut memory = Self {
            pages: BTreeMap::new(),
            code: CodePages::new(MAX_PAGES * 4096),
        };
        // The first-level table has 4096 words.
        for i in 0..4 {
            memory.add(TABLES + 0x1000 * i);
        }
        let mut tables = Tables {
            memory: &mut memory,
            next: TABLES + 0x4000,
            second: BTreeMap::new(),
        };
        for segment in image.segments() {
            let attributes = match (segment.write, segment.execute) {
                (true, _) => AP_WRITE | XN,
                (false, false) => AP_READ | XN,
                (false, true) => AP_READ,
            };
            for page in pages(segment) {
                tables.map(page, attributes);
            }
        }
        tables.map(VECTORS, AP_PRIVILEGED);
        for vector in 0..8 {
            memory.put(VECTORS + 4 * vector, HVC);
        }
        memory.fill(image);
        memory
    }

    fn add(&mut self, address: u32) {
        // A page that is there keeps its number: tables that share one ask for it again.
        let number = self.pages.len() as u32;
        self.pages
            .entry(address)
            .or_insert_with(|| (number, Box::new(Page(UnsafeCell::new([0; 4096])))));
    }

    /// Copies the contents of `image` in.
    pub fn fill(&self, image: &Image) {
        for segment in image.segments() {
            self.copy_in(segment.address, &segment.bytes);
        }
    }

    /// Puts a word.
    pub fn put(&self, address: u32, word: u32) {
        self.copy_in(address, &word.to_le_bytes());
    }

    /// Writes `bytes` at `address`; parts that no page holds are dropped.
    pub fn copy_in(&self, address: u32, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.wrapping_add(done as u32);
            let len = (0x1000 - (at & 0xfff) as usize).min(bytes.len() - done);
            if let Some((number, page)) = self.pages.get(&(at & !0xfff)) {
                let offset = (at & 0xfff) as usize;
                // Whoever is no core has to tell which code may no longer be what was decoded.
                self.code
                    .written_elsewhere(*number as usize * 0x1000 + offset, len);
                // SAFETY: `at & 0xfff` plus `len` is within the page; `bytes` is not guest memory,
                // to which no reference exists; the core does not run meanwhile (see `Send`).
                unsafe {
                    let to = page.0.get().cast::<u8>().add(offset);
                    std::ptr::copy_nonoverlapping(bytes[done..].as_ptr(), to, len);
                }
            }
            done += len;
        }
    }

    /// Returns the `len` bytes at `address`; zero where no page is.
    pub fn copy_out(&self, address: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = address.wrapping_add(done as u32);
            let part = (0x1000 - (at & 0xfff) as usize).min(len - done);
            if let Some((_, page)) = self.pages.get(&(at & !0xfff)) {
                // SAFETY: as in `copy_in`, the other way round.
                unsafe {
                    let from = page.0.get().cast::<u8>().add((at & 0xfff) as usize);
                    std::ptr::copy_nonoverlapping(from, bytes[done..].as_mut_ptr(), part);
                }
            }
            done += part;
        }
        bytes
    }
}

fn pages(segment: &Segment) -> impl Iterator<Item = u32> {
    (segment.address..segment.address + segment.bytes.len() as u32).step_by(0x1000)
}

/// Builds translation tables.
struct Tables<'a> {
    memory: &'a mut Memory,
    next: u32,
    /// Second-level tables by the number of their megabyte.
    second: BTreeMap<u32, u32>,
}

impl Tables<'_> {
    fn map(&mut self, page: u32, attributes: u32) {
        self.memory.add(page);
        let megabyte = page >> 20;
        let table = match self.second.get(&megabyte) {
            Some(table) => *table,
            None => {
                let table = self.next;
                // 256 words: four of these tables fit a page.
                self.next += 0x400;
                self.memory.add(table & !0xfff);
                // A descriptor of a page table, in domain 0.
                self.memory.put(TABLES + 4 * megabyte, table | 1);
                self.second.insert(megabyte, table);
                table
            }
        };
        self.memory.put(
            table + 4 * ((page >> 12) & 0xff),
            page | SMALL_PAGE | attributes,
        );
    }
}
