//! Brings what a guest boots from into its memory: kernel, initrd and device tree.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vm_memory::{Bytes, FileOffset, GuestAddress};
use vmm_base::ByteSize;
use vmm_files::input;

use crate::board::Board;
use crate::config::Config;
use crate::error::Error;
use crate::fdt::{self, Chosen, SEED_BYTES};
use crate::layout::Range;
use crate::loader::{self, KernelFile, LoadError, cmdline, place};
use crate::seeds::{Stream, derive};
use crate::vcpu::BootState;
use vmm_devices::ram::GuestRam;

/// The longest kernel file that is read, if RAM is not larger: the largest vmlinux of Debian's has
/// 300 MB.
const MAX_FILE: u64 = 1 << 30;

/// Allocates RAM of zeros; in a file of its own if it is to be `shared` with other processes.
pub(super) fn allocate(ram: Range, shared: bool) -> Result<Arc<GuestRam>, Error> {
    let fail = |e: Box<dyn std::error::Error + Send + Sync>| Error::Memory {
        size: ByteSize(ram.size),
        source: e,
    };
    let size = usize::try_from(ram.size).map_err(|e| fail(Box::new(e)))?;
    let file = match shared {
        true => Some(FileOffset::new(
            memory_file(ram.size).map_err(|e| fail(Box::new(e)))?,
            0,
        )),
        false => None,
    };
    let memory = GuestRam::from_ranges_with_files([(GuestAddress(ram.base), size, file)])
        .map_err(|e| fail(Box::new(e)))?;
    Ok(Arc::new(memory))
}

/// Creates a file of `size` bytes that is in memory only, and cannot change its size: whoever it is
/// shared with could take away what this process has mapped.
fn memory_file(size: u64) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("guest-ram", flags)?);
    file.set_len(size)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// Reads a file of at most `most` bytes; a longer one comes back one byte too long, for the caller
/// to refuse.
fn read(path: &Path, what: &'static str, most: u64) -> Result<Vec<u8>, Error> {
    let fail = |source| Error::Read {
        what,
        path: path.into(),
        source,
    };
    let file = input::open_file(path).map_err(fail)?;
    let mut bytes = Vec::new();
    // One byte more than RAM holds is enough for `place` to refuse the file, however large it is.
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Checks what does not depend on the kernel: that there is room for the initrd, and a command
/// line.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let fail = |source| Error::Load {
        path: config.kernel.clone(),
        source,
    };
    cmdline(&config.cmdline).map_err(fail)?;
    let ram = config.ram();
    if let Some(path) = &config.initrd {
        let unreadable = |source| Error::Read {
            what: "initrd",
            path: path.clone(),
            source,
        };
        let file = input::open_file(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        place::check_initrd(ram, size).map_err(fail)?;
    }
    // Only a try shows whether the host gives that much.
    allocate(ram, false).map(drop)
}

/// Reads a device tree, as far as one may be long.
fn read_tree(path: &Path) -> Result<Vec<u8>, Error> {
    read(path, "device tree", fdt::MAX_BYTES)
}

/// Checks that a file is a device tree that a kernel can be given.
///
/// # Errors
/// It is not, and why.
pub fn check_tree(path: &Path) -> Result<(), Error> {
    fdt::check(&read_tree(path)?).map_err(|source| Error::Tree {
        path: path.into(),
        source,
    })
}

/// Reads the kernel and understands what it is.
pub(super) fn read_kernel(config: &Config) -> Result<KernelFile, Error> {
    let ram = config.ram().size;
    // A vmlinux has debugging information, which is no part of what is loaded.
    let kernel = read(&config.kernel, "kernel", ram.max(MAX_FILE))?;
    loader::open(kernel, config.kernel_format, ram).map_err(|source| Error::Load {
        path: config.kernel.clone(),
        source,
    })
}

/// Loads kernel, initrd and device tree.
pub(super) fn load(
    config: &Config,
    board: &Board,
    kernel: KernelFile,
    ram: &GuestRam,
) -> Result<BootState, Error> {
    let fail = |source| Error::Load {
        path: config.kernel.clone(),
        source,
    };
    // What was cut off at the size of RAM is refused by `place`, as it has no room.
    let initrd = config
        .initrd
        .as_ref()
        .map(|path| read(path, "initrd", board.ram.size))
        .transpose()?;
    let KernelFile {
        bytes: kernel,
        image,
        initrd: own,
    } = kernel;
    // The one that the user names, and otherwise the kernel's own.
    let initrd = initrd.or(own);
    let placed = place::place(
        board.ram,
        &image,
        initrd.as_ref().map(|bytes| bytes.len() as u64),
    )
    .map_err(fail)?;
    // Made after placing: /chosen says where the initrd lies.
    let dtb = device_tree(config, board, placed.initrd)?;
    let initrd = placed
        .initrd
        .zip(initrd)
        .map(|(range, bytes)| (range.base, bytes));
    for (addr, bytes) in [(placed.kernel, kernel), (placed.dtb, dtb)]
        .into_iter()
        .chain(initrd)
    {
        // What was placed lies in RAM.
        ram.write_slice(&bytes, GuestAddress(addr))
            .map_err(|e| Error::Host {
                what: "write the guest's memory",
                source: Box::new(e),
            })?;
    }
    let (Ok(entry), Ok(dtb)) = (u32::try_from(placed.kernel), u32::try_from(placed.dtb)) else {
        // BoardFacts::ram_max keeps all of RAM below 4 GiB.
        unreachable!("RAM lies below 4 GiB");
    };
    Ok(BootState { entry, dtb })
}

/// Returns the flattened device tree of `board`, which fits the room kept for it.
fn device_tree(config: &Config, board: &Board, initrd: Option<Range>) -> Result<Vec<u8>, Error> {
    let fail = |source| Error::Load {
        path: config.kernel.clone(),
        source,
    };
    // The kernel's generator begins with these bytes: the same seed gives the same run.
    let mut rng_seed = [0; SEED_BYTES];
    let seed = derive(config.seed, Stream::KernelSeed);
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut rng_seed);
    let cmdline = cmdline(&config.cmdline).map_err(fail)?;
    let chosen = Chosen {
        cmdline: &cmdline,
        initrd,
        rng_seed: &rng_seed,
    };
    let given = config.dtb.as_deref().map(read_tree).transpose()?;
    let dtb = board.device_tree(&chosen, given.as_deref());
    let dtb = dtb.map_err(|source| match (&config.dtb, source) {
        (Some(path), source) => Error::Tree {
            path: path.clone(),
            source,
        },
        // Only the command line could hold a NUL: names are letters and digits.
        (None, error) => fail(LoadError::Cmdline(error.to_string())),
    })?;
    // The initrd begins right behind this room.
    if dtb.len() as u64 > place::DTB_ROOM {
        return Err(fail(LoadError::DtbTooLarge(dtb.len())));
    }
    Ok(dtb)
}
