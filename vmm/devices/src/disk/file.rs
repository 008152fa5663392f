//! The file behind a block device, and the lock that keeps two writers apart.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::SECTOR;
use super::storage::Storage;

/// An opened, locked disk.
#[derive(Debug)]
pub struct Disk {
    /// Its contents.
    pub storage: Storage,
    /// Its size in sectors; a last partial sector is out of reach.
    pub sectors: u64,
    /// Whether it may not be written.
    pub read_only: bool,
}

/// The access that a guest has to a disk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read it and write it.
    Write,
    /// Read it, and write what stays in memory.
    Overlay,
}

/// The reason for which a disk cannot be opened.
#[derive(Debug)]
pub enum DiskError {
    /// The host refused.
    Open(io::Error),
    /// It is neither a file nor a block device.
    Kind,
    /// Someone else has it: a writer, or a reader when we want to write.
    Locked,
}

impl Disk {
    /// Opens the raw image at `path`. Any number may read it at once, or one may write it; the lock
    /// is advisory (`flock`) and ends with the file descriptor, whatever happens to the process.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        // Looked at before opening: to open a named pipe would wait for its other end.
        let kind = std::fs::metadata(path)
            .map_err(DiskError::Open)?
            .file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::Kind);
        }
        let file = OpenOptions::new()
            .read(true)
            // An overlay keeps all writes to itself, so the right to read is enough.
            .write(access == Access::Write)
            .open(path)
            .map_err(DiskError::Open)?;
        let how = match access {
            Access::Read | Access::Overlay => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        // Without waiting: the user is to hear who is in the way, not to watch a machine that does
        // not start.
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked),
            Err(error) => return Err(DiskError::Open(error.into())),
        }
        let bytes = length(&file).map_err(DiskError::Open)?;
        Ok(Self {
            storage: match access {
                Access::Read | Access::Write => Storage::direct(file),
                Access::Overlay => Storage::overlay(Arc::new(file), Arc::default()),
            },
            sectors: bytes / SECTOR,
            read_only: access == Access::Read,
        })
    }

    /// Returns the length of its file in bytes.
    ///
    /// # Errors
    /// The host refuses.
    pub fn bytes(&self) -> io::Result<u64> {
        length(self.storage.file())
    }

    /// Returns what other form of disk image than a raw one its file looks like, by the magic
    /// numbers of these forms.
    ///
    /// # Errors
    /// The host refuses.
    pub fn format(&self) -> io::Result<Option<&'static str>> {
        let file = self.storage.file();
        let mut head = [0; HEAD];
        let mut have = 0;
        // A read may return less than was asked for, and the file may be shorter than that.
        while have < HEAD {
            match file.read_at(&mut head[have..], have as u64)? {
                0 => break,
                more => have += more,
            }
        }
        let mut foot = [0; 8];
        // A file that is shorter than a footer has none.
        let footer = self.bytes()?.checked_sub(VHD_FOOTER);
        if let Some(at) = footer {
            file.read_exact_at(&mut foot, at)?;
        }
        Ok(format(&head[..have], &foot))
    }
}

/// Returns a file's length: where its end is, which holds for block devices, too. Their metadata
/// tell no length.
fn length(mut file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}

/// Bytes at the beginning of a file in which forms have their magic numbers.
const HEAD: usize = 72;
/// Bytes of the footer of a VHD file, which begins with its magic number; the only one of a file of
/// fixed size.
const VHD_FOOTER: u64 = 512;

/// Returns the form with these bytes at its beginning, or these at the beginning of its last 512.
/// Sources: QEMU, docs/interop (qcow2.txt, qed_spec.txt, parallels.txt); VMware, Virtual Disk
/// Format 5.0; Microsoft, VHD and \[MS-VHDX\]; VirtualBox, VDICore.h.
fn format(head: &[u8], foot: &[u8]) -> Option<&'static str> {
    let forms: [(usize, &[u8], &str); 10] = [
        (0, b"QFI\xfb", "qcow2"),
        (0, b"QED\0", "QED"),
        (0, b"KDMV", "VMDK"),
        (0, b"COWD", "VMDK"),
        (0, b"# Disk DescriptorFile", "VMDK"),
        (0, b"conectix", "VHD"),
        (0, b"vhdxfile", "VHDX"),
        (64, b"\x7f\x10\xda\xbe", "VDI"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"WithouFreSpacExt", "Parallels"),
    ];
    let starts = |&(at, magic, _): &(usize, &[u8], &str)| {
        head.get(at..).is_some_and(|rest| rest.starts_with(magic))
    };
    let found = forms.into_iter().find(starts);
    found
        .map(|(_, _, form)| form)
        .or_else(|| foot.starts_with(b"conectix").then_some("VHD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_other_forms_are_known_by_their_magic_numbers() {
        let vdi = [&[b' '; 64][..], b"\x7f\x10\xda\xbe"].concat();
        for (head, foot, form) in [
            (&b"QFI\xfb\0\0\0\x03"[..], &b""[..], Some("qcow2")),
            (&vdi, b"", Some("VDI")),
            (b"\0\0", b"conectix", Some("VHD")),
            (b"", b"", None),
            (&[0; HEAD], &[0; 8], None),
            (b"QFI", b"conecti", None),
        ] {
            assert_eq!(format(head, foot), form);
        }
    }
}
