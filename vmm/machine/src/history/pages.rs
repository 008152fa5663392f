//! The contents of a guest's memory at several moments, which share the pages that are the same.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{Bytes, GuestMemoryBackend, GuestRegionMmap, MemoryRegionAddress};
use vmm_devices::ram::{CodeMarks, GuestRam};

use crate::snapshot::{PAGE, touched};

/// The bytes that all pages of a history take.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<AtomicU64>);

impl Held {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> u64 {
        // Relaxed: all pages come and go on one thread.
        self.0.load(Ordering::Relaxed)
    }
}

/// A page that is not all zeros.
#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE]>,
    held: Held,
}

impl Page {
    fn new(bytes: &[u8; PAGE], held: &Held) -> Arc<Self> {
        held.0.fetch_add(PAGE as u64, Ordering::Relaxed);
        Arc::new(Self {
            bytes: Box::new(*bytes),
            held: held.clone(),
        })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.held.0.fetch_sub(PAGE as u64, Ordering::Relaxed);
    }
}

/// The contents of RAM at one moment, by the numbers of pages from its start. Pages that are not
/// there are zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(BTreeMap<u64, Arc<Page>>);

impl Pages {
    /// Captures `ram`, which is one region. What is as in `before` is shared with it.
    ///
    /// # Errors
    /// `ram` has no region, or the host does not tell what of it is in use.
    pub fn capture(ram: &GuestRam, before: &Self, held: &Held) -> io::Result<Self> {
        let region = region(ram)?;
        let mut pages = Vec::new();
        let mut bytes = [0; PAGE];
        for number in numbers(touched(region)?) {
            read(region, number, &mut bytes)?;
            match before.0.get(&number) {
                Some(page) if *page.bytes == bytes => pages.push((number, Arc::clone(page))),
                _ if bytes == [0; PAGE] => {}
                _ => pages.push((number, Page::new(&bytes, held))),
            }
        }
        // In the order of their numbers, as which the map is made at once.
        Ok(Self(pages.into_iter().collect()))
    }

    /// Makes `ram` what it was. Only what differs is written, and code that was predecoded from it
    /// is dropped.
    ///
    /// # Errors
    /// `ram` has no region, or the host does not tell what of it is in use.
    pub fn put_back(&self, ram: &GuestRam) -> io::Result<()> {
        let region = region(ram)?;
        let mut bytes = [0; PAGE];
        let mut put = |number: u64, wanted: &[u8; PAGE]| {
            read(region, number, &mut bytes)?;
            if bytes == *wanted {
                return Ok(());
            }
            let at = MemoryRegionAddress(number * PAGE as u64);
            region.write_slice(wanted, at).map_err(io::Error::other)
        };
        let mut wanted = self.0.iter().peekable();
        for number in numbers(touched(region)?) {
            while let Some((before, page)) = wanted.next_if(|(next, _)| **next < number) {
                put(*before, &page.bytes)?;
            }
            match wanted.next_if(|(next, _)| **next == number) {
                Some((_, page)) => put(number, &page.bytes)?,
                None => put(number, &[0; PAGE])?,
            }
        }
        wanted.try_for_each(|(number, page)| put(*number, &page.bytes))
    }
}

fn region(ram: &GuestRam) -> io::Result<&GuestRegionMmap<CodeMarks>> {
    ram.iter()
        .next()
        .ok_or_else(|| io::Error::other("the machine has no memory"))
}

/// Returns the numbers of the pages that lie in `runs`, each once and in order.
fn numbers(runs: Vec<Range<u64>>) -> impl Iterator<Item = u64> {
    // Pages of the host are as large or larger, so that runs begin and end where pages do.
    runs.into_iter()
        .flat_map(|run| run.start / PAGE as u64..run.end.div_ceil(PAGE as u64))
}

fn read(
    region: &GuestRegionMmap<CodeMarks>,
    number: u64,
    bytes: &mut [u8; PAGE],
) -> io::Result<()> {
    let at = MemoryRegionAddress(number * PAGE as u64);
    region.read_slice(bytes, at).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::GuestAddress;

    use super::*;

    const BASE: u64 = 0x4000_0000;
    const SIZE: usize = 16 * PAGE;

    fn all(ram: &GuestRam) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        ram.read_slice(&mut bytes, GuestAddress(BASE)).unwrap();
        bytes
    }

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(BASE), SIZE)]).unwrap()
    }

    proptest! {
        /// Any moment can be gone back to from any other, and pages are held once.
        #[test]
        fn every_moment_comes_back(
            writes in proptest::collection::vec((0..SIZE as u64, 0..3u8, any::<bool>()), 1..60),
            back in proptest::collection::vec(any::<proptest::sample::Index>(), 1..20),
        ) {
            let (ram, held) = (ram(), Held::default());
            let mut moments = vec![(Pages::default(), vec![0; SIZE])];
            for (at, byte, keep) in writes {
                ram.write_obj(byte, GuestAddress(BASE + at)).unwrap();
                if keep {
                    let before = &moments[moments.len() - 1].0;
                    let pages = Pages::capture(&ram, before, &held).unwrap();
                    moments.push((pages, all(&ram)));
                }
            }
            for index in back {
                let (pages, wanted) = index.get(&moments);
                pages.put_back(&ram).unwrap();
                prop_assert!(all(&ram) == *wanted);
            }
            let mut held_once: Vec<_> = moments
                .iter()
                .flat_map(|(pages, _)| pages.0.values().map(Arc::as_ptr))
                .collect();
            held_once.sort_unstable();
            held_once.dedup();
            prop_assert_eq!(held.bytes(), (held_once.len() * PAGE) as u64);
            drop(moments);
            prop_assert_eq!(held.bytes(), 0);
        }
    }
}
