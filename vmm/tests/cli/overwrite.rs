//! Outputs that would take the place of an input or of one another: refused before anything is
//! opened to be written.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::run;

/// Powers off: mov r0, #0x84000000; orr r0, r0, #8; hvc.
const OFF: [u32; 3] = [0xe3a0_0484, 0xe380_0008, 0xe140_0070];

const PLAN: &str =
    "title = 'T'\n[[fault]]\nwhere = 'disk'\nwhat = 'flip'\nwhen = { probability = 0.1 }\n";

/// A directory with a file of each kind that a command reads.
struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let kernel: Vec<u8> = OFF.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(place.at("kernel"), kernel).unwrap();
        fs::write(place.at("initrd"), [1; 512]).unwrap();
        fs::write(place.at("disk"), [2; 4096]).unwrap();
        fs::write(place.at("config.toml"), "cpus = 1\n").unwrap();
        fs::write(place.at("plan.toml"), PLAN).unwrap();
        fs::write(place.at("module.ko"), [3; 64]).unwrap();
        fs::write(place.at("vmlinux"), [4; 64]).unwrap();
        let script = "[[step]]\nop = \"read\"\naddress = 0\n";
        fs::write(place.at("script.toml"), script).unwrap();
        fs::create_dir(place.at("inner")).unwrap();
        let recorded = place.run(&["boot", "--record", "recording"], &MACHINE);
        assert_eq!(recorded.code, Some(0), "{recorded:?}");
        let saved = place.run(
            &["snapshot", "save", "snapshot", "--at-instruction", "1"],
            &MACHINE,
        );
        assert_eq!(saved.code, Some(0), "{saved:?}");
        place
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, head: &[&str], tail: &[&str]) -> crate::Ended {
        let words: Vec<&str> = head.iter().chain(tail).copied().collect();
        crate::vmm(&words)
            .current_dir(&self.0)
            .output()
            .unwrap()
            .into()
    }

    /// All files and what is in them.
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for directory in [self.0.path().to_owned(), self.at("inner")] {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    all.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        all.sort();
        all
    }
}

const MACHINE: [&str; 7] = [
    "--kernel",
    "kernel",
    "--kernel-format=image",
    "--initrd",
    "initrd",
    "--disk",
    "disk,overlay",
];

/// A command, what it reads, and the flags by which it writes; `None` is the place of its argument.
struct Case {
    words: &'static [&'static str],
    machine: bool,
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
}

const CASES: [Case; 10] = [
    Case {
        words: &[
            "boot",
            "--board=ecx2000",
            "--kernel=kernel",
            "--dtb",
            "initrd",
        ],
        machine: false,
        inputs: &["initrd"],
        outputs: &["--json", "--console", "--record", "--timeline"],
    },
    Case {
        words: &["boot", "--dma-script", "script.toml"],
        machine: true,
        inputs: &["script.toml", "kernel", "initrd", "disk"],
        outputs: &["--json", "--console", "--record", "--timeline"],
    },
    Case {
        words: &["boot", "--config", "config.toml", "--vmlinux", "vmlinux"],
        machine: true,
        inputs: &["config.toml", "kernel", "initrd", "disk", "vmlinux"],
        outputs: &["--json", "--console", "--record", "--timeline"],
    },
    Case {
        words: &[
            "boot",
            "--rootfs",
            "debian:bookworm",
            "--rootfs-disk",
            "disk",
        ],
        machine: false,
        inputs: &["disk"],
        outputs: &["--json", "--console", "--record", "--timeline"],
    },
    Case {
        words: &["boot", "--replay", "recording"],
        machine: false,
        inputs: &["recording", "kernel", "initrd", "disk"],
        outputs: &["--json", "--console", "--timeline"],
    },
    Case {
        words: &[
            "snapshot",
            "save",
            "--at-instruction=1",
            "--config",
            "config.toml",
        ],
        machine: true,
        inputs: &["config.toml", "kernel", "initrd", "disk"],
        outputs: &["", "--json", "--console", "--timeline"],
    },
    Case {
        words: &["snapshot", "restore", "snapshot", "--vmlinux", "vmlinux"],
        machine: false,
        inputs: &["snapshot", "kernel", "initrd", "disk", "vmlinux"],
        outputs: &["--json", "--console", "--record", "--timeline"],
    },
    Case {
        words: &["inject", "./plan.toml", "--runs=1"],
        machine: false,
        inputs: &["plan.toml"],
        outputs: &["--json", "--junit", "--journal"],
    },
    Case {
        words: &[
            "lab",
            "run",
            "deferral",
            "--kernel",
            "kernel",
            "--module",
            "module.ko",
            "--vmlinux",
            "vmlinux",
        ],
        machine: false,
        inputs: &["kernel", "module.ko", "vmlinux"],
        outputs: &["--json", "--junit"],
    },
    Case {
        words: &[
            "lab",
            "matrix",
            "deferral",
            "--kernel",
            "kernel,module.ko",
            "--vmlinux",
            "vmlinux",
            "--shard",
            "1/2",
        ],
        machine: false,
        inputs: &["kernel", "module.ko", "vmlinux"],
        outputs: &["--results"],
    },
];

/// Other names of `name`, which may not exist.
fn names(place: &TestDirectory, name: &str) -> Vec<String> {
    let (link, hard) = (format!("{name}.link.json"), format!("{name}.hard.txt"));
    if !place.at(&link).is_symlink() {
        symlink(name, place.at(&link)).unwrap();
    }
    if place.at(name).exists() && !place.at(&hard).exists() {
        fs::hard_link(place.at(name), place.at(&hard)).unwrap();
    }
    let mut names = vec![link, format!("inner/../{name}")];
    names.extend(place.at(&hard).exists().then_some(hard));
    names
}

/// The words that have each flag write to its file.
fn writes(case: &Case, outputs: &[(&str, &str)]) -> Vec<String> {
    let mut words = Vec::new();
    for (flag, name) in outputs {
        words.extend((!flag.is_empty()).then(|| (*flag).to_owned()));
        words.push((*name).to_owned());
    }
    if case.outputs.contains(&"") && outputs.iter().all(|(flag, _)| !flag.is_empty()) {
        words.push("elsewhere".into());
    }
    words
}

fn refused(place: &TestDirectory, case: &Case, outputs: &[(&str, &str)], words: &str) {
    let outputs = writes(case, outputs);
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let machine: &[&str] = if case.machine { &MACHINE } else { &[] };
    let ended = place.run(&[case.words, machine].concat(), &outputs);
    let right = ended.stderr.contains(words) && ended.stderr.lines().count() == 1;
    assert!(
        ended.code == Some(2) && right,
        "{:?} {outputs:?}: {ended:?}",
        case.words
    );
}

#[test]
fn no_output_overwrites_an_input() {
    let place = TestDirectory::new();
    for case in &CASES {
        for input in case.inputs {
            let names = names(&place, input);
            let before = place.contents();
            for flag in case.outputs {
                for name in &names {
                    refused(&place, case, &[(flag, name)], "would overwrite the");
                }
            }
            assert!(place.contents() == before, "{:?} {input}", case.words);
        }
    }
}

#[test]
fn no_two_outputs_are_one_file() {
    let place = TestDirectory::new();
    for case in &CASES {
        // One that exists and one that does not.
        fs::write(place.at("old.json"), "old").unwrap();
        for name in ["old.json", "new.json"] {
            let names = names(&place, name);
            let before = place.contents();
            for (index, one) in case.outputs.iter().enumerate() {
                for two in &case.outputs[index + 1..] {
                    for other in &names {
                        let outputs = [(*one, name), (*two, other.as_str())];
                        refused(&place, case, &outputs, "would be one file");
                    }
                }
            }
            assert!(place.contents() == before, "{:?} {name}", case.words);
        }
    }
}

#[test]
fn files_of_reports_and_of_the_image_cache_are_files_too() {
    let place = TestDirectory::new();
    let case = |words| Case {
        words,
        machine: false,
        inputs: &[],
        outputs: &[],
    };
    let inject = case(&["inject", "./plan.toml", "--report", "report"]);
    refused(
        &place,
        &inject,
        &[("--json", "report/index.html")],
        "would be one file",
    );
    refused(
        &place,
        &inject,
        &[("--junit", "report/journal.jsonl")],
        "would be one file",
    );
    refused(
        &place,
        &inject,
        &[("--json", "report")],
        "its own directory",
    );
    let lab = case(&["lab", "run", "deferral.shared", "--report", "report"]);
    let ended = place.run(lab.words, &["--json", "report/deferral.shared.off.json"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("would be one file");
    let cache = place.at("cache");
    fs::create_dir_all(cache.join("blobs")).unwrap();
    let ended = crate::vmm(&["demo", "--report", "cache/blobs/report"])
        .env("VIOMMU_CACHE", &cache)
        .current_dir(&place.0)
        .output()
        .unwrap();
    let ended = crate::Ended::from(ended);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("image cache"),
        "{ended:?}"
    );
    assert!(!place.at("report").exists() && !cache.join("blobs/report").exists());
}

#[test]
fn devices_and_pipes_take_any_number_of_outputs() {
    let place = TestDirectory::new();
    let ended = place.run(
        &["boot", "--json", "/dev/null", "--console", "/dev/null"],
        &MACHINE,
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        run(&[
            "snapshot",
            "describe",
            &place.at("snapshot").display().to_string()
        ])
        .code,
        Some(0)
    );
}
