//! What guests are made of, as it comes from outside: packages' records, apt's messages, modules,
//! compressed or not, what the cache remembers, and files for an initial file system, all of it
//! right but for some bytes.

#![expect(clippy::cast_possible_truncation, reason = "files are small")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use guest_images::fuzzing::{
    Record, dependency_list, failure, initramfs, manifest, needs, options, record, uncompressed,
};
use guest_images::{GuestFile, encode_command, guest_script};

use super::text::{Edit, edited};

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Record(Vec<Edit>),
    Text(&'a str),
    /// A module with these entries, and bytes of it changed.
    Module(Vec<(u8, [u8; 4])>, Vec<(u16, u8)>),
    /// The same, compressed.
    Compressed(Vec<(u8, [u8; 4])>, Vec<(u16, u8)>),
    Bytes(&'a [u8]),
    /// Modules, and which of those before each it needs.
    Needed(Vec<(u8, u8)>),
    Manifest(Vec<Edit>),
    /// Files, each of a path in pieces, permissions, and a length.
    Files(Vec<(Vec<u8>, u16, u8)>),
    Command(&'a str),
}

const RECORD: &str = "Package: linux-image-armmp\nSource: linux (6.1.140-1)\nVersion: 6.1.140-1\nInstalled-Size: 12\n\
    Depends: linux-base (= 6.1.140-1), linux-image-6.1.0-37-armmp (= 6.1.140-1), kmod, a (>= 2) | b\n\
    Description: Linux for ARMv7\n more text: with a colon\nFilename: pool/main/l/linux.deb\nSize: 1492\n\
    SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\nPackage: other\nVersion: 2\n";
const MANIFEST: &str = r#"{"name":"ipmmu","kernel":{"recipe":"r","version":"6.1","packages":[{"suite":"s","name":"n",
"version":"v","depends":["d"],"size":5,"sha256":"ba78"}],"zimage":{"sha256":
"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"modified":17},"raw":null,"vmlinux":null,
"system_map":null,"config":{"sha256":"..","size":1,"modified":-1},"modules":[{"name":"m","file":{"sha256":"/",
"size":0,"modified":0}}]},"initramfs":{"recipe":"r","busybox":{"suite":"s","name":"n","version":"v","depends":[],
"size":5,"sha256":""},"modules":["m"],"late_modules":[],"archive":{"sha256":
"BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"modified":0}}}"#;
const WORDS: &[&str] = &[
    "Package",
    "Version",
    "Size",
    "SHA256",
    "Depends",
    "null",
    "true",
    "-1",
    "18446744073709551616",
    "../../../../etc/passwd",
    "Could not resolve",
    "NO_PUBKEY",
    "CONFIG_ARM=y",
    "sha256",
    "modified",
];
const LINES: &[&str] = &[
    "Depends: a (= 1), b (= 2)",
    "Size: 7",
    "",
    "W: NO_PUBKEY 6ED0E7B82643E131",
    "E: Could not connect to mirror:80.",
    "# CONFIG_ARM is not set",
    "CONFIG_ARM=y",
    "SHA256: 0000000000000000000000000000000000000000000000000000000000000000",
];
/// Pieces of paths.
const PIECES: &[&str] = &[
    "a",
    "b",
    "/",
    "/",
    "/a",
    "a/",
    "..",
    ".",
    "init",
    "bin",
    "\0",
    "TRAILER!!!",
    "\u{e9}",
    "\n",
];
/// What modules say of themselves.
const ENTRIES: &[&str] = &[
    "depends=",
    "depends=a,b-c,,d",
    "softdep=pre: crypto-crc32c post: other",
    "softdep=post: a pre:",
    "license=GPL",
    "alias=of:N*T*Cx",
    "depends",
    "=",
];

/// Returns a 32-bit ELF file with a section `.modinfo` (Tool Interface Standard, ELF 1.2).
fn module(entries: &[(u8, [u8; 4])]) -> Vec<u8> {
    const HEADER: usize = 52;
    const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
    let mut info = Vec::new();
    for (which, more) in entries.iter().take(16) {
        info.extend(ENTRIES[usize::from(*which) % ENTRIES.len()].bytes());
        info.extend(more.iter().filter(|byte| **byte != 0));
        info.push(0);
    }
    info.resize(info.len().next_multiple_of(4), 0);
    let (names, sections) = (HEADER + info.len(), HEADER + info.len() + 20);
    let mut file = vec![0; sections + 3 * 40];
    file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    let mut put = |at: usize, size: usize, value: usize| {
        file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    };
    // Relocatable, for ARM, version 1; where section headers are, sizes of headers, how many, and
    // which has their names.
    for (at, size, value) in [
        (16, 2, 1),
        (18, 2, 40),
        (20, 4, 1),
        (32, 4, sections),
        (40, 2, HEADER),
        (46, 2, 40),
        (48, 2, 3),
        (50, 2, 2),
    ] {
        put(at, size, value);
    }
    // Name, type (1 bytes, 3 strings), and where it is.
    for (number, [name, kind, from, length]) in [
        (1, [1, 1, HEADER, info.len()]),
        (2, [10, 3, names, NAMES.len()]),
    ] {
        for (field, value) in [(0, name), (4, kind), (16, from), (20, length), (32, 1)] {
            put(sections + number * 40 + field, 4, value);
        }
    }
    file[HEADER..names].copy_from_slice(&info);
    file[names..names + NAMES.len()].copy_from_slice(NAMES);
    file
}

/// Returns `bytes` as xz has them uncompressed: one chunk in one block, with checksums (The .xz
/// File Format 1.2).
fn xz(bytes: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    let flags = [0, 1];
    let mut out = [&b"\xfd7zXZ\0"[..], &flags, &crc(&flags)].concat();
    let head = [2, 0, 0x21, 1, 0, 0, 0, 0];
    let begin = out.len();
    out.extend(head);
    out.extend(crc(&head));
    let length = u16::try_from(bytes.len() - 1).expect("one chunk");
    out.push(1);
    out.extend(length.to_be_bytes());
    out.extend(bytes);
    out.push(0);
    let unpadded = out.len() - begin + 4;
    out.resize(begin + (unpadded - 4).next_multiple_of(4), 0);
    out.extend(crc(bytes));
    // The index: one record, of two numbers of seven bits a byte.
    let mut index = vec![0, 1];
    for mut number in [unpadded, bytes.len()] {
        while number >= 0x80 {
            index.push(number as u8 | 0x80);
            number >>= 7;
        }
        index.push(number as u8);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let size = (index.len() as u32 / 4).to_le_bytes();
    let sum = crc(&index);
    out.extend(index);
    out.extend(sum);
    let footer = [&size[..], &flags].concat();
    out.extend(crc(&footer));
    out.extend(footer);
    out.extend(b"YZ");
    out
}

fn changed(mut file: Vec<u8>, changes: &[(u16, u8)]) -> Vec<u8> {
    let length = file.len();
    for (at, bits) in changes.iter().take(8) {
        file[usize::from(*at) % length] ^= bits;
    }
    file
}

fn text(text: &str) {
    if let Some(Record { name, sha256, .. }) = record(text) {
        assert!(!name.contains('\n') && sha256.len() == 64);
    }
    if let Some(sentence) = failure(text) {
        assert!(!sentence.contains('\n'));
    }
    assert!(options(text).iter().all(|o| o.starts_with("CONFIG_")));
}

fn check_manifest(text: &str) {
    static ROOT: LazyLock<&Path> = LazyLock::new(|| Path::new("/cache"));
    let Some((files, again)) = manifest(text.as_bytes(), &ROOT) else {
        return;
    };
    // Whatever it says, nothing else on the host is taken for a part of the image.
    for file in &files {
        let rest = file.strip_prefix(*ROOT).expect("it is in the store");
        assert!(rest.components().count() <= 3 && !rest.to_string_lossy().contains(".."));
    }
    let twice = manifest(&again, &ROOT).expect("it was just written");
    assert_eq!(twice, (files, again));
}

fn check_dependencies(needed: &[(u8, u8)]) {
    let modules: Vec<(String, Vec<String>)> = needed
        .iter()
        .take(32)
        .enumerate()
        .map(|(number, needs)| {
            let before = [needs.0, needs.1].map(usize::from);
            let before = before.iter().filter(|n| **n < number);
            (
                format!("m{number}"),
                before.map(|n| format!("m{n}")).collect(),
            )
        })
        .collect();
    let list = dependency_list(&modules);
    assert_eq!(list.lines().count(), modules.len());
    // All that is needed, directly or not, and what is needed first last.
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (line, (name, needs)) in list.lines().zip(&modules) {
        let (file, files) = line.split_once(':').expect("a file and what it needs");
        let files: Vec<&str> = files.split_whitespace().collect();
        assert_eq!(file, format!("/lib/modules/{name}.ko"));
        for need in needs {
            let path = format!("/lib/modules/{need}.ko");
            let at = files.iter().position(|file| *file == path);
            let behind = &files[at.expect("it is needed")..];
            assert!(all[need.as_str()].iter().all(|file| behind.contains(file)));
        }
        all.insert(name, files);
    }
}

/// Returns the entries of an archive (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst): path, mode, contents.
fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while !archive.is_empty() {
        assert_eq!(&archive[..6], b"070701");
        let field = |n: usize| {
            let digits = std::str::from_utf8(&archive[6 + 8 * n..][..8]).expect("digits");
            u32::from_str_radix(digits, 16).expect("a number") as usize
        };
        let (mode, size, name) = (field(1) as u32, field(6), field(11));
        let data = (110 + name).next_multiple_of(4);
        let path = String::from_utf8(archive[110..110 + name - 1].to_vec()).expect("a text");
        assert_eq!(archive[110 + name - 1], 0);
        found.push((path, mode, archive[data..data + size].to_vec()));
        archive = &archive[(data + size).next_multiple_of(4)..];
    }
    found
}

fn check_files(files: &[(Vec<u8>, u16, u8)]) {
    let files: Vec<GuestFile> = files
        .iter()
        .take(16)
        .map(|(path, mode, length)| GuestFile {
            path: path
                .iter()
                .map(|piece| PIECES[usize::from(*piece) % PIECES.len()])
                .collect(),
            mode: u32::from(*mode) << 1,
            bytes: vec![0x30; usize::from(*length)],
        })
        .chain([guest_script("10-x", "echo hello")])
        .collect();
    let Ok(archive) = initramfs(vec![b'0'; 3], &files) else {
        return;
    };
    assert_eq!(archive[..4], *b"000\0");
    let entries = entries(&archive[4..]);
    assert_eq!(entries.last().map(|entry| &*entry.0), Some("TRAILER!!!"));
    for file in &files {
        let plain = file.path.strip_prefix('/').unwrap_or(&file.path);
        assert!(
            plain
                .split('/')
                .all(|part| !["", ".", ".."].contains(&part))
        );
        // The last of several files of one name counts, and no directory takes its place.
        let last = files.iter().rfind(|other| {
            let other = other.path.strip_prefix('/').unwrap_or(&other.path);
            other == plain
        });
        let mut here = entries.iter().filter(|(path, ..)| path == plain);
        let (_, mode, bytes) = here.next().expect("it is in the archive");
        assert!(here.next().is_none(), "{plain:?} is there twice");
        for (slash, _) in plain.match_indices('/') {
            let parent = entries.iter().find(|(path, ..)| *path == plain[..slash]);
            assert!(parent.is_some_and(|(_, mode, _)| mode & 0o170_000 == 0o040_000));
        }
        let last = last.expect("itself at least");
        assert_eq!(
            (*mode, bytes),
            (0o100_000 | last.mode & 0o7777, &last.bytes)
        );
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    match case {
        Case::Record(edits) => {
            let good = edits.is_empty();
            let edited = edited(RECORD, &edits, WORDS, LINES);
            assert!(!good || record(&edited).is_some_and(|record| record.depends.len() == 2));
            text(&edited);
        }
        Case::Text(any) => {
            text(any);
            check_manifest(any);
        }
        Case::Module(entries, changes) => {
            let file = changed(module(&entries), &changes);
            assert!(
                needs(&file).is_some() || !changes.is_empty(),
                "it is a module"
            );
        }
        Case::Compressed(entries, changes) => {
            let plain = module(&entries);
            let file = changed(xz(&plain), &changes);
            match uncompressed(&file) {
                // What changed is found out by the checksum, unless nothing did, or only what the
                // format leaves unused.
                Ok(back) => assert_eq!(back, plain),
                Err(_) => assert!(!changes.is_empty(), "it is a good file"),
            }
        }
        Case::Bytes(bytes) => {
            let _ = (needs(bytes), uncompressed(bytes));
        }
        Case::Needed(needed) => check_dependencies(&needed),
        Case::Manifest(edits) => check_manifest(&edited(MANIFEST, &edits, WORDS, LINES)),
        Case::Files(files) => check_files(&files),
        Case::Command(command) => {
            let word = encode_command(command);
            assert!(word.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!word.contains(['"', '\'', '\\']));
        }
    }
}
