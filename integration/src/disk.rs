//! Disks for guests.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

/// A file to be a guest's disk, gone when dropped.
#[derive(Debug)]
pub struct Disk(NamedTempFile);

impl Disk {
    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns what is on it now.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the disk should be readable")
    }

    /// Returns the checksum of what is on it now, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        sha256(&self.bytes())
    }
}

/// Returns a checksum in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns noise that follows from a seed.
pub fn random_bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Returns a disk with these bytes.
pub fn of(bytes: &[u8]) -> Disk {
    let file = NamedTempFile::new().expect("a temporary file should be possible");
    fs::write(file.path(), bytes).expect("a temporary file should be writable");
    Disk(file)
}

/// Returns a disk of `size` bytes of noise that follows from `seed`.
pub fn noise(size: usize, seed: u64) -> Disk {
    of(&random_bytes(size, seed))
}

/// Returns a disk with an ext4 file system of 16 MiB that holds these files. No privileges are
/// needed to make it.
pub fn ext4(files: &[(&str, &[u8])]) -> Disk {
    let tree = TempDir::new().expect("a temporary directory should be possible");
    for (name, bytes) in files {
        fs::write(tree.path().join(name), bytes).expect("a temporary file should be writable");
    }
    let disk = of(&[]);
    let tree = tree.path().display().to_string();
    e2fs(
        "mke2fs",
        &[
            "-q",
            "-F",
            "-t",
            "ext4",
            "-d",
            &tree,
            &disk.path().display().to_string(),
            "16M",
        ],
    );
    disk
}

/// Returns a disk with an ext4 file system of `size` MiB that holds the directory `tree`, `/proc`,
/// and these files beside.
pub fn ext4_of(tree: &Path, size: u32, files: &[(&str, &Path)]) -> Disk {
    let disk = of(&[]);
    let (image, tree) = (disk.path().display().to_string(), tree.display());
    let room = format!("{size}M");
    let from = tree.to_string();
    e2fs(
        "mke2fs",
        &["-q", "-F", "-t", "ext4", "-d", &from, &image, &room],
    );
    let change = |command: String| drop(e2fs("debugfs", &["-w", "-R", &command, &image]));
    // Unpacked packages have no directory to mount it on.
    change("mkdir /proc".into());
    for (name, path) in files {
        change(format!("write {} {name}", path.display()));
    }
    disk
}

/// Asserts that a disk has an intact ext4 file system.
///
/// # Panics
/// If not.
pub fn assert_ext4_intact(disk: &Disk) {
    e2fs("e2fsck", &["-f", "-n", &disk.path().display().to_string()]);
}

/// Returns the content of a file in a disk's ext4 file system.
pub fn ext4_file(disk: &Disk, path: &str) -> String {
    e2fs(
        "debugfs",
        &[
            "-R",
            &format!("cat {path}"),
            &disk.path().display().to_string(),
        ],
    )
}

/// Runs a program of e2fsprogs, which every Debian system has, if not every container; it may be in
/// a directory for administrators, which is not in everyone's PATH.
fn e2fs(program: &str, arguments: &[&str]) -> String {
    // These programs are in directories that not every user's PATH has.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("env")
        .arg(format!("PATH={path}:/usr/sbin:/sbin"))
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("env should run");
    assert_ne!(
        output.status.code(),
        // The exit code of env if there is no such program.
        Some(127),
        "this test needs {program}, of the package e2fsprogs; `cargo xtask test` sees to all that tests need"
    );
    assert!(
        output.status.success(),
        "{program} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
