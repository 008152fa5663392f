//! Files of snapshots, whole and otherwise.

use std::io::Write as _;
use std::os::unix::fs::FileExt;

use tempfile::NamedTempFile;

use super::*;
use crate::sections::{Reader, Writer};
use crate::snapshot::Fork;
use crate::tests::{UART, config, kernel, limited};
use crate::{Config, DiskConfig, Machine};
use spec::{BLOCKS, FORM, HEADER, PAGES, STATE};
use vmm_devices::uart::Discard;

/// A machine that has run a little, with a disk.
struct Sample {
    machine: Machine,
    disk: NamedTempFile,
    _kernel: NamedTempFile,
}

impl Sample {
    fn new(overlay: bool) -> Self {
        // b to itself
        let kernel = kernel(&[&[UART, 0xeaff_fffe]]);
        let mut disk = NamedTempFile::new().unwrap();
        disk.write_all(&[3; 3 * 4096]).unwrap();
        let config = Config {
            disks: vec![DiskConfig {
                overlay,
                ..DiskConfig::new(disk.path())
            }],
            rng: true,
            ..config(&kernel)
        };
        let mut machine = Machine::builder(&config, Box::new(Discard))
            .build()
            .unwrap();
        machine.run(limited(5_000));
        Self {
            machine,
            disk,
            _kernel: kernel,
        }
    }

    fn file(&mut self) -> Vec<u8> {
        let mut file = Vec::new();
        self.machine.snapshot().unwrap().write(&mut file).unwrap();
        file
    }
}

/// Returns the sections of a file, some of them replaced by others.
fn rewrite(file: &[u8], change: impl Fn(u32, Vec<u8>) -> Vec<(u32, Vec<u8>)>) -> Vec<u8> {
    let mut reader = Reader::new(&FORM, file).unwrap();
    let mut writer = Writer::new(&FORM, Vec::new()).unwrap();
    while let Some((kind, contents)) = reader.section().unwrap() {
        for (kind, contents) in change(kind, contents) {
            writer.add(kind, &[&contents]).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn json(contents: &[u8], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(contents).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn what_is_written_is_read() {
    for overlay in [false, true] {
        let mut sample = Sample::new(overlay);
        let file = sample.file();
        // The machine lets its disk go.
        let first = sample.machine.snapshot().unwrap();
        drop(sample.machine);
        let second = Snapshot::read(&*file).unwrap();
        assert_eq!(second.state(), first.state());
        assert_eq!(second.config(), first.config());
        assert_eq!(second.stored().unwrap(), first.stored().unwrap());
        let mut again = Vec::new();
        second.write(&mut again).unwrap();
        assert!(again == file, "a snapshot of a snapshot is the same");
        let mut machine = second.machine(Fork::new(Box::new(Discard))).unwrap();
        machine.run(limited(6_000));
        let header = describe(&*file).unwrap();
        assert_eq!(header.instructions, first.instructions());
        assert_eq!(header.disks[0].size, 3 * 4096);
    }
}

#[test]
fn a_disk_that_has_changed_or_gone_is_refused() {
    let mut sample = Sample::new(true);
    let file = sample.file();
    drop(sample.machine);
    sample.disk.as_file().write_all_at(b"x", 9000).unwrap();
    let error = Snapshot::read(&*file).err().unwrap();
    assert!(matches!(error, ReadError::Changed(..)), "{error}");
    sample.disk.as_file().set_len(4096).unwrap();
    assert!(matches!(
        Snapshot::read(&*file),
        Err(ReadError::Changed(..))
    ));
    drop(sample.disk);
    assert!(matches!(
        Snapshot::read(&*file),
        Err(ReadError::Needed { .. })
    ));
    describe(&*file).unwrap();
}

#[test]
fn files_whose_checksums_are_right_are_not_believed_either() {
    let mut sample = Sample::new(true);
    let file = sample.file();
    drop(sample.machine);
    let with = |at: u64, pages: usize| [at.to_le_bytes().to_vec(), vec![1; pages]].concat();
    let block = |disk: u32, first: u64, bytes: usize| {
        [
            disk.to_le_bytes().to_vec(),
            first.to_le_bytes().to_vec(),
            vec![1; bytes],
        ]
        .concat()
    };
    let behind = |kind: u32, contents: Vec<u8>| {
        rewrite(&file, |old, bytes| match old {
            STATE => vec![(old, bytes), (kind, contents.clone())],
            _ => vec![(old, bytes)],
        })
    };
    let header = |change: fn(&mut serde_json::Value)| {
        rewrite(&file, |kind, bytes| match kind {
            HEADER => vec![(kind, json(&bytes, change))],
            _ => vec![(kind, bytes)],
        })
    };
    let bad = [
        ("twice", behind(STATE, b"{}".to_vec())),
        ("odd page", behind(PAGES, with(5, 4096))),
        ("part of a page", behind(PAGES, with(0, 4095))),
        ("no page", behind(PAGES, with(0, 0))),
        ("beyond", behind(PAGES, with(u64::MAX - 4095, 4096))),
        ("over the end", behind(PAGES, with((32 << 20) - 4096, 8192))),
        ("pages of no length", behind(PAGES, vec![0; 7])),
        ("a disk too many", behind(BLOCKS, block(1, 0, 4096))),
        ("beyond the disk", behind(BLOCKS, block(0, 3, 4096))),
        ("blocks not announced", behind(BLOCKS, block(0, 0, 4096))),
        ("half a block", behind(BLOCKS, block(0, 0, 100))),
        (
            "no state",
            rewrite(&file, |kind, bytes| {
                if kind == STATE {
                    Vec::new()
                } else {
                    vec![(kind, bytes)]
                }
            }),
        ),
        ("cores", header(|h| h["config"]["cpus"] = 9.into())),
        ("disks", header(|h| h["disks"] = serde_json::json!([]))),
        ("memory", header(|h| h["config"]["memory"] = "3G".into())),
    ];
    for (name, bad) in bad {
        let error = describe(&*bad).err();
        assert!(
            matches!(
                error,
                Some(ReadError::Damaged(_) | ReadError::Impossible(_))
            ),
            "{name}: {error:?}"
        );
        assert!(Snapshot::read(&*bad).is_err(), "{name}");
    }
}

#[test]
fn what_a_later_version_has_is_named() {
    let mut sample = Sample::new(false);
    let file = sample.file();
    drop(sample.machine);
    let change = |section: u32, change: fn(&mut serde_json::Value)| {
        let bad = rewrite(&file, |kind, bytes| {
            let changed = kind == section;
            vec![(kind, if changed { json(&bytes, change) } else { bytes })]
        });
        describe(&*bad).unwrap_err().to_string()
    };
    let sentences = [
        change(HEADER, |h| h["more"] = 1.into()),
        change(HEADER, |h| h["config"]["board"] = "lager".into()),
        change(STATE, |s| {
            s["virtio"][0]["device"] = serde_json::json!({"balloon": {}});
        }),
    ];
    for (sentence, name) in sentences.iter().zip(["more", "lager", "balloon"]) {
        assert!(
            sentence.contains("of another version of this program"),
            "{sentence}"
        );
        assert!(sentence.contains(&format!("`{name}`")), "{sentence}");
    }
}

#[test]
fn states_of_no_machine_are_refused_when_a_machine_is_made() {
    let mut sample = Sample::new(true);
    let file = sample.file();
    drop(sample.machine);
    let bad = rewrite(&file, |kind, bytes| match kind {
        STATE => vec![(
            kind,
            json(&bytes, |s| s["virtio"][0]["queues"] = serde_json::json!([])),
        )],
        _ => vec![(kind, bytes)],
    });
    let snapshot = Snapshot::read(&*bad).unwrap();
    assert!(snapshot.machine(Fork::new(Box::new(Discard))).is_err());
}
