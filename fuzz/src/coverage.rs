//! Which functions were entered.
//!
//! LLVM's SanitizerCoverage has a counter for each basic block and a table of their addresses. What
//! functions the blocks are of, inlined ones included, the program's own debug information tells. A
//! function is entered when one of its blocks is; one that was inlined everywhere into the middle
//! of blocks is not seen at all. Line tables name functions without their types, so functions of
//! one name in one file count as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use addr2line::gimli::Reader;
use addr2line::{Frame, Loader};

use crate::list::Target;

/// An entry of the compiler's table: the address of a block, and whether a function begins there.
#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    address: usize,
    _flags: usize,
}

#[cfg(fuzzing)]
mod tables {
    use super::Block;

    unsafe extern "C" {
        #[link_name = "__start___sancov_cntrs"]
        static FIRST_COUNTER: u8;
        #[link_name = "__stop___sancov_cntrs"]
        static COUNTERS_END: u8;
        #[link_name = "__start___sancov_pcs"]
        static FIRST_BLOCK: Block;
        #[link_name = "__stop___sancov_pcs"]
        static BLOCKS_END: Block;
    }

    /// Returns the first counter, and how many there are.
    pub fn counters() -> (*mut u8, usize) {
        let (first, end) = (&raw const FIRST_COUNTER, &raw const COUNTERS_END);
        (first.cast_mut(), end.addr() - first.addr())
    }

    /// Returns the blocks, in the order of their counters.
    pub fn blocks() -> &'static [Block] {
        let (first, end) = (&raw const FIRST_BLOCK, &raw const BLOCKS_END);
        let count = (end.addr() - first.addr()) / size_of::<Block>();
        // SAFETY: the linker sets both symbols around a table that the compiler filled with such
        // pairs.
        unsafe { std::slice::from_raw_parts(first, count) }
    }
}

/// Built without counters: nothing is counted.
#[cfg(not(fuzzing))]
mod tables {
    use super::Block;

    pub fn counters() -> (*mut u8, usize) {
        (std::ptr::dangling_mut(), 0)
    }

    pub fn blocks() -> &'static [Block] {
        &[]
    }
}

/// Returns the blocks that were entered since the last call, by number.
pub fn take() -> Vec<usize> {
    let (first, count) = tables::counters();
    let mut entered = Vec::new();
    for index in 0..count {
        // SAFETY: the counters lie there, and code that counts only ever writes bytes, on this
        // thread or, in targets with threads of their own, on one that is done.
        unsafe {
            let counter = first.add(index);
            if counter.read_volatile() != 0 {
                entered.push(index);
                counter.write_volatile(0);
            }
        }
    }
    entered
}

/// The functions of this program.
pub struct Functions {
    /// For each block the functions that it is of, innermost first, as numbers of names.
    of_block: Vec<Vec<u32>>,
    names: Vec<String>,
}

impl Functions {
    /// Reads the program's debug information.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read() -> Result<Self, Box<dyn std::error::Error>> {
        let loader = Loader::new(std::env::current_exe()?).map_err(|e| e.to_string())?;
        let base = loaded_at(&loader).ok_or("the program's place in memory is not known")?;
        let mut numbers = BTreeMap::new();
        let mut names = Vec::new();
        let mut of_block = Vec::new();
        for block in tables::blocks() {
            let mut functions = Vec::new();
            let address = block.address.wrapping_sub(base) as u64;
            let mut frames = loader.find_frames(address).map_err(|e| e.to_string())?;
            while let Some(frame) = frames.next().map_err(|e| e.to_string())? {
                let Some(name) = path(&frame) else {
                    continue;
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "there are far fewer than 2^32 functions"
                )]
                let next = names.len() as u32;
                let number = *numbers.entry(name).or_insert_with_key(|name| {
                    names.push(name.clone());
                    next
                });
                functions.push(number);
            }
            of_block.push(functions);
        }
        Ok(Self { of_block, names })
    }

    /// Returns what of the subject of `target` there is, and which of it the `blocks` entered.
    pub fn subject(&self, target: &Target, blocks: &BTreeSet<usize>) -> Covered<'_> {
        let subject: BTreeSet<u32> = (0u32..)
            .zip(&self.names)
            .filter(|(_, name)| is_subject(name, target) && is_written(name))
            .map(|(number, _)| number)
            .collect();
        let entered: BTreeSet<u32> = blocks
            .iter()
            .filter_map(|block| self.of_block.get(*block))
            .flatten()
            .filter(|number| subject.contains(number))
            .copied()
            .collect();
        let never = subject.difference(&entered);
        Covered {
            functions: subject.len(),
            entered: entered.len(),
            never: never.map(|number| &*self.names[*number as usize]).collect(),
        }
    }
}

/// The functions of a subject that were entered.
pub struct Covered<'a> {
    /// Functions that there are.
    pub functions: usize,
    /// Functions that were entered.
    pub entered: usize,
    /// The names of the others.
    pub never: BTreeSet<&'a str>,
}

impl Covered<'_> {
    /// Returns the share of functions that were entered, in whole per cent, rounded down.
    #[expect(clippy::cast_possible_truncation, reason = "it is a percentage")]
    pub fn percent(&self) -> u32 {
        (self.entered * 100)
            .checked_div(self.functions)
            .unwrap_or(0) as u32
    }
}

/// Returns where the program was loaded: its addresses less those in its file.
fn loaded_at(loader: &Loader) -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let own = std::env::current_exe().ok()?;
    let own = own.to_str()?;
    let first = maps.lines().find(|line| line.ends_with(own))?;
    let start = usize::from_str_radix(first.split('-').next()?, 16).ok()?;
    start.checked_sub(usize::try_from(loader.relative_address_base()).ok()?)
}

/// Returns the file of a function in the workspace, and its name; nothing for closures, which are
/// part of the functions around them, and for what derives write.
fn path(frame: &Frame<'_, impl Reader>) -> Option<String> {
    const DERIVED: [&str; 14] = [
        "fmt",
        "clone",
        "clone_from",
        "eq",
        "ne",
        "cmp",
        "partial_cmp",
        "hash",
        "default",
        "serialize",
        "deserialize",
        "expecting",
        "source",
        "arbitrary",
    ];
    let name = frame.function.as_ref()?.raw_name().ok()?;
    let name = name.split('<').next()?;
    if name.is_empty()
        || name.starts_with(['{', '_'])
        || ["visit_", "deserialize_", "struct_variant"]
            .iter()
            .any(|begin| name.starts_with(begin))
        || DERIVED.contains(&name)
    {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let file = Path::new(frame.location.as_ref()?.file?)
        .strip_prefix(root)
        .ok()?;
    Some(format!("{}: {name}", file.display()))
}

/// Returns whether a file has a function of that name. After inlining, a line of one file may be
/// said to be of the function of another that it was inlined into.
fn is_written(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let (Some(root), Some((file, function))) = (root, name.split_once(": ")) else {
        return false;
    };
    let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut heads = text.split("fn ").skip(1);
    heads.any(|head| {
        let rest = head.strip_prefix(function);
        rest.is_some_and(|rest| rest.starts_with(['(', '<']))
    })
}

/// Returns whether a function is of the subject.
fn is_subject(name: &str, target: &Target) -> bool {
    let below = |prefix: &String| {
        let rest = name.strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with(['/', ':']))
    };
    target.subject.iter().any(below) && !target.without.iter().any(below)
}
