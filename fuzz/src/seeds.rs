//! Chooses seeds: few small files that enter as much as a large corpus does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::coverage;

/// A file that takes longer is no seed.
const SLOW: Duration = Duration::from_secs(3);

/// Returns the files in `dirs`, those of each in the order of their names.
///
/// # Errors
/// A directory cannot be read.
pub fn files(dirs: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in dirs {
        let entries: io::Result<Vec<_>> = fs::read_dir(dir)?.collect();
        let mut paths: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.is_file());
        paths.sort();
        found.extend(paths);
    }
    Ok(found)
}

/// Runs each file, and returns the blocks that `run` enters with it.
///
/// # Errors
/// A file cannot be read.
pub fn replay(run: fn(&[u8]), files: &[PathBuf]) -> io::Result<Vec<Vec<usize>>> {
    coverage::take();
    let mut all = Vec::new();
    for file in files {
        let data = fs::read(file)?;
        // A crash names the input that it is of.
        let name = file.display().to_string();
        let guard = Guard(&name);
        run(&data);
        // It ended well: there is no input to name.
        std::mem::forget(guard);
        all.push(coverage::take());
    }
    Ok(all)
}

/// Names the input when it is dropped in a panic.
struct Guard<'a>(&'a str);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        eprintln!("the input was {}", self.0);
    }
}

/// Replaces what is in `to` by at most `most` of the files, of `bytes` in all: always the one that
/// enters most that none before it did, for its size.
///
/// # Errors
/// Something cannot be read or written.
pub fn choose(
    run: fn(&[u8]),
    from: &[PathBuf],
    to: &Path,
    most: usize,
    bytes: u64,
) -> io::Result<usize> {
    let files = files(from)?;
    let mut left: Vec<(Vec<usize>, Vec<u8>)> = Vec::new();
    for file in &files {
        let began = Instant::now();
        let blocks = replay(run, std::slice::from_ref(file))?.concat();
        // Every check replays the seeds.
        if began.elapsed() < SLOW {
            left.push((blocks, fs::read(file)?));
        }
    }
    let mut seen = BTreeSet::new();
    let mut chosen: Vec<Vec<u8>> = Vec::new();
    let mut room = bytes;
    while chosen.len() < most {
        left.iter_mut()
            .for_each(|(blocks, _)| blocks.retain(|block| !seen.contains(block)));
        left.retain(|(blocks, data)| !blocks.is_empty() && data.len() as u64 <= room);
        // Blocks for each byte, where the first bytes of a file cost as much as 256 of them.
        let worth = |entry: &(Vec<usize>, Vec<u8>)| {
            (entry.0.len() as u64 * 1_000_000) / (entry.1.len() as u64 + 256)
        };
        let Some(best) = (0..left.len()).max_by_key(|index| worth(&left[*index])) else {
            break;
        };
        let (blocks, data) = left.swap_remove(best);
        seen.extend(blocks);
        room -= data.len() as u64;
        chosen.push(data);
    }
    fs::create_dir_all(to)?;
    for old in self::files(&[to.to_owned()])? {
        fs::remove_file(old)?;
    }
    for data in &chosen {
        fs::write(to.join(format!("{:08x}", crc32fast::hash(data))), data)?;
    }
    Ok(chosen.len())
}
