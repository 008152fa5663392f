//! What a case gives its guest: disks with known contents, and a script.

use std::fmt::Write as _;
use std::io;

use guest_images::{GuestFile, guest_script};
use sha2::{Digest, Sha256};
use vmm_files::scratch::{ScratchFile, seeded_bytes};
use vmm_machine::GuestKernel;
use vmm_machine::board::{Board, Role};

use super::load::Case;

/// The functions that steps can use.
const PRELUDE: &str = include_str!("guest.sh");
/// Bytes that the guest reads: two requests.
pub const READ_BYTES: usize = 128 << 10;
/// Bytes that it writes at a time: one request.
pub const PART_BYTES: usize = 64 << 10;
/// The number of times that it may write.
pub const PARTS: usize = 3;

/// Returns what the guest writes.
pub fn pattern() -> Vec<u8> {
    // No letter has this number: the disks are seeded with those of their letters.
    seeded_bytes(0x0706_0504, PART_BYTES)
}

/// A device's disk.
pub struct Disk {
    /// The device's letter.
    pub role: char,
    /// The kernel's name of the device.
    pub device: String,
    file: ScratchFile,
    read: Vec<u8>,
}

impl Disk {
    /// Creates a disk whose first part is noise, and the rest zero.
    ///
    /// # Errors
    /// The host has no room for it.
    pub fn new(role: char) -> io::Result<Self> {
        // Each device has contents of its own, so that data of one disk cannot pass for another's.
        let read = seeded_bytes(u64::from(u32::from(role)), READ_BYTES);
        let file = ScratchFile::new(&[&read, &vec![0; PARTS * PART_BYTES]])?;
        Ok(Self {
            role,
            device: String::new(),
            file,
            read,
        })
    }

    /// Returns the path of its file.
    pub fn path(&self) -> &std::path::Path {
        self.file.path()
    }

    /// Returns the SHA-256 of what the guest is to read.
    pub fn sum(&self) -> String {
        format!("{:x}", Sha256::digest(&self.read))
    }

    /// Returns for each part whether it holds what the guest writes, and whether all else is as it
    /// was.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn inspect(&self) -> io::Result<([bool; PARTS], bool)> {
        let bytes = std::fs::read(self.path())?;
        let pattern = pattern();
        // A file that has shrunk is damage, too, and nothing to panic about.
        let (head, rest) = bytes.split_at(READ_BYTES.min(bytes.len()));
        let mut intact = head == self.read && rest.len() == PARTS * PART_BYTES;
        let mut written = [false; PARTS];
        for (part, written) in rest.chunks(PART_BYTES).zip(&mut written) {
            *written = part == pattern;
            // A part that was not written has to be zero still: half a write is damage.
            intact &= *written || part.iter().all(|byte| *byte == 0);
        }
        Ok((written, intact))
    }
}

/// Returns the files that the guest needs besides its image: the pattern, the module of the clocks
/// if the user brings one, and the script, each step of which is a command of its own.
pub fn files(
    patience: u32,
    case: &Case,
    board: &Board,
    disks: &[Disk],
    kernel: &GuestKernel,
) -> Vec<GuestFile> {
    let data = |path: &str, bytes| GuestFile {
        path: path.into(),
        mode: 0o644,
        bytes,
    };
    let mut head = String::new();
    let letters = |all: bool| -> String {
        let devices = case.topology.device.iter().filter(|d| all || d.subject);
        devices.map(|device| format!("{} ", device.role)).collect()
    };
    for disk in disks {
        // Writing to a string does not fail.
        let _ = writeln!(head, "{}={}", disk.role, disk.device);
    }
    let clocks = board.devices.iter();
    let clocks = clocks.filter(|entry| matches!(entry.role, Some(Role::ClockGenerator(_))));
    let clocks: String = clocks
        .map(|entry| format!("{} ", entry.linux_name()))
        .collect();
    let _ = writeln!(
        head,
        "ROLES='{}'\nSUBJECTS='{}'\nCLOCKS='{clocks}'\nPATIENCE={patience}\n\
         DRIVER=/sys/bus/platform/drivers/{}",
        letters(true),
        letters(false),
        case.topology.board.facts().disk_driver
    );
    let prelude = format!("{head}{PRELUDE}");
    let mut files = vec![
        data("lab/pattern", pattern()),
        data("lab/guest.sh", prelude.into_bytes()),
    ];
    files.extend(
        kernel
            .module
            .clone()
            .map(|bytes| data("lab/clock.ko", bytes)),
    );
    // The guest runs scripts in the order of their names, so that numbers have leading zeros.
    for (index, step) in case.trigger.steps.iter().enumerate() {
        let script = format!(". /lab/guest.sh\n{step}\n");
        files.push(guest_script(&format!("{index:02}"), &script));
    }
    files
}
