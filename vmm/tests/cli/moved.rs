//! Recordings, snapshots and campaigns that are used from another directory than they were made in,
//! or whose files have moved since.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::record::PROGRAM;
use crate::{Ended, vmm};

/// `made/` with a machine's files and its configuration, and `used/`, from where things are used.
struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("made")).unwrap();
        fs::create_dir(place.at("used")).unwrap();
        symlink("made", place.at("link")).unwrap();
        let kernel: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(place.at("made/kernel"), kernel).unwrap();
        fs::write(place.at("made/initrd"), [1; 512]).unwrap();
        fs::write(place.at("made/disk"), [2; 4096]).unwrap();
        symlink("disk", place.at("made/disk.link")).unwrap();
        let config =
            "kernel = 'kernel'\nkernel-format = 'image'\ninitrd = 'initrd'\ndisk = ['disk,ro']\n";
        fs::write(place.at("made/machine.toml"), config).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, directory: &str, arguments: &[&str]) -> Ended {
        vmm(arguments)
            .current_dir(self.at(directory))
            .output()
            .unwrap()
            .into()
    }

    /// The same, which ends well.
    fn good(&self, directory: &str, arguments: &[&str]) -> Ended {
        let ended = self.run(directory, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended
    }

    /// The same, which is refused in one sentence with these words.
    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let ended = self.run("used", arguments);
        let right = words.iter().all(|words| ended.stderr.contains(words));
        assert!(
            ended.code == Some(2) && right && ended.stderr.lines().count() == 1,
            "{arguments:?}: {ended:?}"
        );
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.at(name)).unwrap()).unwrap()
    }
}

/// Ways to name the same machine, and the directory in which they do.
const MACHINES: [(&str, &[&str]); 5] = [
    (
        "made",
        &[
            "--kernel=kernel",
            "--kernel-format=image",
            "--initrd=initrd",
            "--disk=disk,ro",
        ],
    ),
    (
        "used",
        &[
            "--kernel=../made/kernel",
            "--kernel-format=image",
            "--initrd=../used/../made/initrd",
            "--disk=../made/disk,ro",
        ],
    ),
    (
        "link",
        &[
            "--kernel=./kernel",
            "--kernel-format=image",
            "--initrd=initrd",
            "--disk=disk.link,ro",
        ],
    ),
    ("used", &["--config=../made/machine.toml"]),
    (
        "used",
        &[
            "--config=../link/machine.toml",
            "--disk=../link/disk.link,ro",
        ],
    ),
];

#[test]
fn what_was_made_anywhere_is_used_from_anywhere() {
    let place = TestDirectory::new();
    for (directory, machine) in MACHINES {
        let with = |head: &[&'static str]| [head, machine].concat();
        let recorded = place.good(directory, &with(&["boot", "--record", "../rec"]));
        let replayed = place.good("used", &["boot", "--replay", "../rec"]);
        assert!(replayed.stdout == recorded.stdout && recorded.stdout.len() > 1000);
        let saved = place.good(
            directory,
            &with(&[
                "snapshot",
                "save",
                "../snap",
                "--at-instruction=5000",
                "--console=none",
            ]),
        );
        assert!(saved.stdout.is_empty());
        let restored = place.good("used", &["snapshot", "restore", "../made/../snap"]);
        assert!(recorded.stdout.ends_with(&restored.stdout) && restored.stdout.len() > 100);
        let described = place.good("used", &["snapshot", "describe", "../snap", "--json"]);
        let header: Value = serde_json::from_str(&described.stdout).unwrap();
        for path in [
            &header["config"]["kernel"],
            &header["config"]["disks"][0]["path"],
        ] {
            assert!(Path::new(path.as_str().unwrap()).exists(), "{path}");
        }
    }
}

#[test]
fn a_restored_run_is_recorded_and_had_again() {
    let place = TestDirectory::new();
    for time in ["virtual", "host"] {
        let time = format!("--time={time}");
        let save = ["snapshot", "save", "snap", "--config=machine.toml", &time];
        let save = [&save[..], &["--at-instruction=5000", "--console=none"]].concat();
        place.good("made", &save);
        let restore = ["snapshot", "restore", "../made/snap", "--record", "rec"];
        let restore = [&restore[..], &["--seed=7", "--json=first.json"]].concat();
        let recorded = place.good("used", &restore);
        assert!(recorded.stdout.len() > 100);
        let replay = ["boot", "--replay", "used/rec", "--json=second.json"];
        let replayed = place.good(".", &replay);
        assert!(replayed.stdout == recorded.stdout);
        let (first, second) = (place.json("used/first.json"), place.json("second.json"));
        for key in ["instructions", "guest_ns", "console_bytes", "exit", "seed"] {
            assert_eq!(first[key], second[key], "{key}");
        }
        // The snapshot and its disk move.
        fs::rename(place.at("made/snap"), place.at("snap")).unwrap();
        place.refused(
            &["boot", "--replay", "rec"],
            &["cannot open", "--snapshot FILE"],
        );
        let replay = ["boot", "--replay", "rec", "--snapshot", "../snap"];
        assert!(place.good("used", &replay).stdout == recorded.stdout);
        fs::rename(place.at("made/disk"), place.at("disk")).unwrap();
        place.refused(&replay, &["cannot open", "--disk disk0=FILE"]);
        let moved = [&replay[..], &["--disk", "disk0=../disk"]].concat();
        assert!(place.good("used", &moved).stdout == recorded.stdout);
        let wrong = ["boot", "--replay", "rec", "--snapshot", "../disk"];
        place.refused(&wrong, &["is not the snapshot"]);
        fs::rename(place.at("disk"), place.at("made/disk")).unwrap();
    }
}

#[test]
fn files_of_a_recording_may_have_moved() {
    let place = TestDirectory::new();
    let record = ["boot", "--config=machine.toml", "--record=../rec"];
    let recorded = place.good("made", &record);
    for name in ["kernel", "initrd", "disk"] {
        fs::rename(place.at(&format!("made/{name}")), place.at(name)).unwrap();
    }
    let mut words = vec!["boot", "--replay", "../rec"];
    let places = [
        ("kernel", "--kernel", "../kernel"),
        ("initrd", "--initrd", "../initrd"),
        ("disk", "--disk", "disk0=../disk"),
    ];
    for (_, flag, value) in places {
        place.refused(&words, &["cannot open", flag]);
        words.extend([flag, value]);
    }
    assert!(place.good("used", &words).stdout == recorded.stdout);
    for (flag, value, told) in [
        ("--kernel", "../disk", "is not the kernel"),
        ("--initrd", "../disk", "is not the initial file system"),
        ("--disk", "disk0=../initrd", "is not the disk0"),
        ("--disk", "disk1=../disk", "has no disk1"),
        ("--disk", "../disk", "disk0=FILE"),
        ("--disk", "disk0=../disk,ro", "with options"),
        ("--snapshot", "../disk", "has no snapshot"),
    ] {
        let used: Vec<&str> = words
            .iter()
            .copied()
            .take(3)
            .chain(
                places
                    .iter()
                    .filter(|p| p.1 != flag)
                    .flat_map(|p| [p.1, p.2]),
            )
            .chain([flag, value])
            .collect();
        place.refused(&used, &[told]);
    }
}

#[test]
fn a_disk_of_a_snapshot_may_have_moved() {
    let place = TestDirectory::new();
    let save = [
        "snapshot",
        "save",
        "../snap",
        "--config=machine.toml",
        "--at-instruction=5000",
    ];
    place.good("made", &save);
    fs::rename(place.at("made/disk"), place.at("disk")).unwrap();
    let restore = ["snapshot", "restore", "../snap"];
    let with = |place: &'static str| [&restore[..], &["--disk", place]].concat();
    place.refused(&restore, &["cannot open", "--disk disk0=FILE"]);
    assert!(place.good("used", &with("disk0=../disk")).stdout.len() > 100);
    place.refused(&with("disk0=../rec"), &["cannot open"]);
    place.refused(&with("disk0=../made/initrd"), &["is not the disk0"]);
    place.refused(&with("disk7=../disk"), &["has no disk7"]);
    place.refused(&with("../disk"), &["disk0=FILE"]);
}

#[test]
fn a_debugger_and_a_recording_do_not_go_together() {
    let place = TestDirectory::new();
    place.refused(
        &["snapshot", "restore", "x", "--gdb", "1", "--record", "y"],
        &["cannot be used with"],
    );
}

/// The image cache of the tests, with hard links or copies of what `image` takes; as another user
/// would have it.
fn other_cache(root: &Path, image: &str) -> PathBuf {
    let list = crate::run(&["images", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list.as_array().unwrap();
    let found = entries.iter().find(|entry| entry["name"] == image).unwrap();
    let cache = root.join("cache");
    for key in ["kernel", "raw_kernel", "initramfs"] {
        let Some(path) = found[key].as_str() else {
            continue;
        };
        let path = Path::new(path);
        let name = path.file_name().unwrap().to_str().unwrap();
        let place = cache.join("blobs/sha256").join(&name[..2]);
        fs::create_dir_all(&place).unwrap();
        fs::copy(path, place.join(name)).unwrap();
    }
    cache
}

#[test]
fn a_recording_of_an_image_is_had_again_with_another_cache() {
    let place = TestDirectory::new();
    let image = crate::run(&["images", "fetch", "ipmmu"]);
    assert_eq!(image.code, Some(0), "{image:?}");
    let record = ["boot", "--image=ipmmu", "--record=../rec"];
    let recorded = place.good("made", &record);
    // The recording's own paths lead nowhere for another user.
    let hidden = hide_paths(&fs::read(place.at("rec")).unwrap());
    fs::write(place.at("rec"), hidden).unwrap();
    let cache = other_cache(&place.at("used"), "ipmmu");
    let replay = |cache: &Path| -> Ended {
        let mut command = vmm(&["boot", "--replay", "rec", "--json=json"]);
        let command = command.current_dir(&place.0).env("VIOMMU_CACHE", cache);
        command.output().unwrap().into()
    };
    let replayed = replay(&cache);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert!(replayed.stdout == recorded.stdout);
    assert_eq!(place.json("json")["image"], "ipmmu");
    let missing = replay(&place.at("no-cache"));
    assert_eq!(missing.code, Some(2), "{missing:?}");
    for words in ["image ipmmu", "vmm images build ipmmu", "--kernel FILE"] {
        assert!(missing.stderr.contains(words), "{words}: {missing:?}");
    }
    assert_eq!(missing.stderr.lines().count(), 1);
}

/// A recording that names its image's files in a directory that does not exist: the sections' form
/// is that of vmm/machine/src/sections.
#[expect(clippy::cast_possible_truncation, reason = "the text is short")]
fn hide_paths(recording: &[u8]) -> Vec<u8> {
    let (head, rest) = recording.split_at(20);
    let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
    let (header, rest) = rest[12..].split_at(length);
    let text = std::str::from_utf8(header).unwrap();
    let text = text.replace("/blobs/sha256/", "/nowhere/sha256/");
    let mut out = head.to_vec();
    let words = [1u32.to_le_bytes(), (text.len() as u32).to_le_bytes()].concat();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&words);
    crc.update(text.as_bytes());
    out.extend(words);
    out.extend(crc.finalize().to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(rest);
    out
}
