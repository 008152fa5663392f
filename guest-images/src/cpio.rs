//! Writer of cpio archives in the "newc" format, the one that Linux unpacks as its initial file
//! system.
//!
//! Format: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. The same nodes
//! always give the same bytes: entries are sorted, times are zero, owners are root and inode
//! numbers count up.

use crate::Error;
use std::collections::BTreeMap;

/// The kind and contents of an archive entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File { mode: u32, bytes: Vec<u8> },
    Symlink { target: String },
    CharDevice { mode: u32, major: u32, minor: u32 },
}

impl Node {
    /// Returns whether paths may lead through it: symbolic links point to directories, for all that
    /// is known.
    fn may_lead_on(&self) -> bool {
        matches!(self, Self::Directory | Self::Symlink { .. })
    }
}

/// An archive being put together. Paths are given without a leading slash; missing parents are
/// added as directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<String, Node>,
}

const TRAILER: &str = "TRAILER!!!";

/// Entries begin at multiples of this.
const ALIGNMENT: usize = 4;

impl Archive {
    /// Adds an empty directory.
    ///
    /// # Errors
    /// The path is none that the kernel would unpack.
    pub fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.add(path, Node::Directory)
    }

    /// Adds a regular file with permission bits `mode`.
    ///
    /// # Errors
    /// The path is none that the kernel would unpack, or the file is too large.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<(), Error> {
        // The header has eight hexadecimal digits for the size.
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::Archive {
                path: path.to_owned(),
                detail: "it is larger than 4 GiB",
            });
        }
        self.add(
            path,
            Node::File {
                mode: mode & 0o7777,
                bytes,
            },
        )
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The path is none that the kernel would unpack.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.add(
            path,
            Node::Symlink {
                target: target.to_owned(),
            },
        )
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// The path is none that the kernel would unpack.
    pub fn char_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), Error> {
        self.add(
            path,
            Node::CharDevice {
                mode: mode & 0o7777,
                major,
                minor,
            },
        )
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), Error> {
        check_path(path)?;
        let refuse = |detail| {
            Err(Error::Archive {
                path: path.to_owned(),
                detail,
            })
        };
        let parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        // Linux passes over what lies below something that is no directory, without a word.
        if parents.clone().any(|parent| {
            self.nodes
                .get(parent)
                .is_some_and(|node| !node.may_lead_on())
        }) {
            return refuse("its path leads through a file");
        }
        let below = format!("{path}/");
        // In a sorted map whatever is below the path begins at the first name from `path/` on.
        let inside = self.nodes.range(below.clone()..).next();
        if !node.may_lead_on() && inside.is_some_and(|(path, _)| path.starts_with(&below)) {
            return refuse("there are other files below it");
        }
        for parent in parents {
            self.nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Returns the archive's bytes, a multiple of four of them, so that another archive may follow
    /// at once.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        // Each has an inode number of its own: files that share one are hard links.
        for (inode, (path, node)) in (1..).zip(&self.nodes) {
            // The mode has the type of the file in its upper bits, as in inode(7).
            let (mode, data, device): (u32, &[u8], _) = match node {
                Node::Directory => (0o040_755, &[], (0, 0)),
                Node::File { mode, bytes } => (0o100_000 | mode, bytes, (0, 0)),
                Node::Symlink { target } => (0o120_777, target.as_bytes(), (0, 0)),
                Node::CharDevice { mode, major, minor } => {
                    (0o020_000 | mode, &[], (*major, *minor))
                }
            };
            // The kernel takes a file with more than one for a hard link to an earlier entry.
            let links = if *node == Node::Directory { 2 } else { 1 };
            entry(&mut out, path, data, [inode, mode, links], device);
        }
        entry(&mut out, TRAILER, &[], [0, 0, 1], (0, 0));
        out
    }
}

/// Refuses paths that would not end up where they say, or that the format has no room for.
fn check_path(path: &str) -> Result<(), Error> {
    let refuse = |detail| {
        Err(Error::Archive {
            path: path.to_owned(),
            detail,
        })
    };
    // PATH_MAX: the kernel skips entries whose name is longer.
    if path.len() >= 4096 {
        return refuse("its path is too long");
    }
    if path.contains('\0') || path == TRAILER {
        return refuse("its path is not possible in a cpio archive");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("its path is not a plain relative one");
    }
    Ok(())
}

/// Appends one entry: a header of hexadecimal fields, the name with a zero byte, the data, each
/// padded.
#[expect(
    clippy::cast_possible_truncation,
    reason = "both were checked when the node was added"
)]
fn entry(
    out: &mut Vec<u8>,
    path: &str,
    data: &[u8],
    [inode, mode, links]: [u32; 3],
    device: (u32, u32),
) {
    // Both were checked when the node was added.
    let (size, name_size) = (data.len() as u32, path.len() as u32 + 1);
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [
        inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(data);
    pad(out);
}

/// Pads with zero bytes, which the kernel skips between entries and between archives.
pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::{Command, Stdio};

    /// An entry as read back.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Read {
        pub path: String,
        pub mode: u32,
        pub data: Vec<u8>,
        pub device: (u32, u32),
    }

    /// Reads a concatenation of archives back.
    pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Read> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + index * 8..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            assert_eq!(field(5), 0, "time");
            let data_start = (110 + name_size).next_multiple_of(4);
            let path = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = bytes[data_start..][..size].to_vec();
            if path != TRAILER {
                entries.push(Read {
                    path,
                    mode: field(1),
                    data,
                    device: (field(9), field(10)),
                });
            }
            bytes = &bytes[(data_start + size).next_multiple_of(4)..];
        }
        entries
    }

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive
            .file("init", 0o755, b"#!/bin/sh\n".to_vec())
            .unwrap();
        archive.symlink("bin/sh", "busybox").unwrap();
        archive.char_device("dev/console", 0o600, 5, 1).unwrap();
        archive.directory("proc").unwrap();
        archive
    }

    #[test]
    fn reads_back_sorted_with_parents() {
        let entries = parse(&sample().into_bytes());
        let paths: Vec<_> = entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.mode))
            .collect();
        assert_eq!(
            paths,
            [
                ("bin", 0o040_755),
                ("bin/sh", 0o120_777),
                ("dev", 0o040_755),
                ("dev/console", 0o020_600),
                ("init", 0o100_755),
                ("proc", 0o040_755)
            ]
        );
        assert_eq!(entries[1].data, b"busybox");
        assert_eq!(entries[3].device, (5, 1));
        assert_eq!(entries[4].data, b"#!/bin/sh\n");
    }

    #[test]
    fn cpio_agrees() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        std::fs::write(&path, sample().into_bytes()).unwrap();
        let input = std::fs::File::open(&path).unwrap();
        let output = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::from(input))
            .output()
            .expect("cpio should be installed; `cargo xtask test` sees to that");
        assert!(output.status.success());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "bin\nbin/sh\ndev\ndev/console\ninit\nproc\n"
        );
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in [
            "",
            "/init",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "a\0b",
            TRAILER,
            &"a".repeat(5000),
        ] {
            let error = Archive::default()
                .file(path, 0o644, Vec::new())
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("cannot be put into an initramfs"),
                "{path}"
            );
        }
    }

    #[test]
    fn a_file_is_no_directory() {
        let mut archive = sample();
        for (path, words) in [("init/x", "through a file"), ("bin", "files below it")] {
            let error = archive.file(path, 0o644, Vec::new()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        archive.file("bin/sh/x", 0o644, Vec::new()).unwrap();
        archive.file("init", 0o644, b"another".to_vec()).unwrap();
        archive.file("proc/x", 0o644, Vec::new()).unwrap();
        assert_eq!(parse(&archive.into_bytes()).len(), 8);
    }

    proptest! {
        #[test]
        fn any_files_read_back(
            files in prop::collection::btree_map(
                "[a-z]{1,9}\\.[a-z]{0,9}",
                prop::collection::vec(any::<u8>(), 0..70),
                0..9,
            ),
        ) {
            let mut archive = Archive::default();
            for (path, bytes) in &files {
                archive.file(path, 0o644, bytes.clone()).unwrap();
            }
            let read: Vec<_> = parse(&archive.into_bytes()).into_iter().map(|entry| (entry.path, entry.data)).collect();
            prop_assert_eq!(read, files.into_iter().collect::<Vec<_>>());
        }
    }
}
