//! The process's areas of memory for code.
//!
//! A process that restricts its own system calls maps no code after that: it reserves areas before,
//! and seals the pool. Areas of cores that are gone are used again.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::memory::CodeMemory;

/// The areas that nobody uses.
static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: Vec::new(),
    mapped: 0,
    sealed: false,
});

struct Pool {
    free: Vec<CodeMemory>,
    /// How many there are, those in use included.
    mapped: usize,
    sealed: bool,
}

fn with<T>(act: impl FnOnce(&mut Pool) -> T) -> T {
    act(&mut POOL.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Maps memory for the code of `cores` more cores, unless the pool is sealed.
///
/// # Errors
/// The host allows no memory that can be executed, or has a processor for which no code is made.
pub fn reserve(cores: usize) -> io::Result<()> {
    if with(|pool| pool.sealed) {
        return Ok(());
    }
    let more: Vec<_> = (0..cores).map(|_| map()).collect::<io::Result<_>>()?;
    with(|pool| pool.add(more));
    Ok(())
}

impl Pool {
    fn add(&mut self, more: impl IntoIterator<Item = CodeMemory>) {
        let before = self.free.len();
        self.free.extend(more);
        self.mapped += self.free.len() - before;
    }
}

/// Checks that there are areas, or can be.
///
/// # Errors
/// As those of [`reserve`], or the pool is sealed and empty.
pub(crate) fn check() -> io::Result<()> {
    match with(|pool| (pool.mapped, pool.sealed)) {
        (0, true) => Err(io::Error::other("no memory for code is left")),
        (0, false) => reserve(1),
        _ => Ok(()),
    }
}

/// Maps no memory for code any more: cores that find none left are interpreted.
pub fn seal() {
    with(|pool| pool.sealed = true);
}

fn map() -> io::Result<CodeMemory> {
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    if !known || !cfg!(target_os = "linux") {
        let why = "there is no translator for this host's processor";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    CodeMemory::new()
}

/// Returns an area.
///
/// # Errors
/// None is left, and none can be mapped.
pub(crate) fn take() -> io::Result<Area> {
    let (free, sealed) = with(|pool| (pool.free.pop(), pool.sealed));
    let memory = match free {
        Some(memory) => memory,
        None if sealed => return Err(io::Error::other("no memory for code is left")),
        None => {
            let memory = map()?;
            with(|pool| pool.mapped += 1);
            memory
        }
    };
    Ok(Area(Some(memory)))
}

/// An area that is in use.
#[derive(Debug)]
pub(crate) struct Area(Option<CodeMemory>);

impl Deref for Area {
    type Target = CodeMemory;

    fn deref(&self) -> &CodeMemory {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Area {
    fn deref_mut(&mut self) -> &mut CodeMemory {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let memory = self.0.take();
        with(|pool| pool.free.extend(memory));
    }
}
