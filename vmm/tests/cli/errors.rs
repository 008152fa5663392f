//! A user's mistake is one sentence, exit code 2, and nothing left behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{Ended, run, vmm};

/// A directory with a file that is no kernel, a file that starts like one, and a small disk.
struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("text"),
            "This is no kernel.\n".repeat(1000),
        )
        .unwrap();
        fs::write(directory.path().join("disk"), vec![0; 4096]).unwrap();
        fs::write(directory.path().join("zImage"), tiny_zimage()).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A file that passes for a zImage: the magic number at 0x24, start and end after it (Linux
/// `arch/arm/boot/compressed/head.S`). Its first instruction branches to itself.
fn tiny_zimage() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(&0xeaff_fffe_u32.to_le_bytes());
    bytes[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    bytes[0x2c..0x30].copy_from_slice(&4096_u32.to_le_bytes());
    bytes[0x30..0x34].copy_from_slice(&0x0403_0201_u32.to_le_bytes());
    bytes
}

#[test]
fn what_cannot_be_printed_is_an_error() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["images", "list"],
        &["lab", "list"],
        &["inject", "--list"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let ended = vmm(arguments).stdout(full.unwrap()).output().unwrap();
        assert_sentence(&ended.into(), "cannot write to the standard output");
    }
}

/// That the program refuses these arguments with a sentence that holds `words`, and touches no
/// file.
fn refuses(place: &TestDirectory, arguments: &[&str], words: &str) {
    let before = place.names();
    let ended = run(arguments);
    assert_sentence(&ended, words);
    assert_eq!(place.names(), before, "{arguments:?} left something behind");
}

fn assert_sentence(ended: &Ended, words: &str) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(
        ended.stderr.starts_with("vmm: ") && ended.stderr.contains(words),
        "{ended:?} lacks {words:?}"
    );
}

#[test]
fn too_few_files_that_may_be_open_are_told_in_a_sentence() {
    let place = TestDirectory::new();
    let (kernel, disk) = (place.path("zImage"), place.path("disk"));
    let json = place.path("out.json");
    let mut arguments = vec!["boot", "--kernel", &kernel, "--disk", &disk];
    arguments.extend(["--json", &json, "--timeout", "0.001", "--quiet"]);
    let mut told = 0;
    for most in 3..24 {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most}; exec \"$@\""), "sh"]);
        command.arg(vmm(&[]).get_program()).args(&arguments);
        let ended: Ended = command.output().unwrap().into();
        // The loader needs some itself.
        if ended
            .stderr
            .contains("error while loading shared libraries")
        {
            continue;
        }
        assert!(!ended.stderr.contains("panicked"), "{most}: {ended:?}");
        if ended.stderr.contains("Too many open files") {
            assert_sentence(&ended, "Too many open files");
            told += 1;
        }
    }
    assert!(told > 0);
}

#[test]
fn unknown_image() {
    let place = TestDirectory::new();
    let out = place.path("out.json");
    refuses(
        &place,
        &["boot", "--image", "debian", "--json", &out],
        "no image named \"debian\"",
    );
    refuses(&place, &["images", "fetch", "debian"], "no image named");
    refuses(
        &place,
        &["images", "build", "debian-armmp"],
        "needs no build",
    );
}

#[test]
fn missing_files() {
    let place = TestDirectory::new();
    let (kernel, none, json) = (
        place.path("zImage"),
        place.path("none"),
        place.path("out.json"),
    );
    refuses(
        &place,
        &["boot", "--kernel", &none, "--json", &json],
        "none",
    );
    refuses(
        &place,
        &[
            "boot", "--kernel", &kernel, "--initrd", &none, "--json", &json,
        ],
        "none",
    );
    refuses(
        &place,
        &[
            "boot",
            "--kernel",
            &kernel,
            "--disk",
            &none,
            "--console",
            &json,
        ],
        "none",
    );
    refuses(&place, &["boot", "--config", &none], "none");
    refuses(&place, &["boot", "--kernel", &place.path("")], "");
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--disk", &place.path("")],
        "",
    );
}

#[test]
fn no_kernel_in_the_file() {
    let place = TestDirectory::new();
    let (text, json, console) = (
        place.path("text"),
        place.path("out.json"),
        place.path("console"),
    );
    refuses(
        &place,
        &[
            "boot",
            "--kernel",
            &text,
            "--json",
            &json,
            "--console",
            &console,
        ],
        "cannot boot",
    );
    refuses(&place, &["boot", "--kernel", "/dev/null"], "");
    refuses(&place, &["boot"], "no guest is named");
    refuses(
        &place,
        &["boot", "--image", "ipmmu", "--kernel", &text],
        "cannot boot",
    );
}

#[test]
fn memory_that_does_not_fit() {
    let place = TestDirectory::new();
    let (kernel, initrd) = (place.path("zImage"), place.path("initrd"));
    File::create(&initrd).unwrap().set_len(64 << 20).unwrap();
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--memory", "2M"],
        "too little",
    );
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--memory", "16G"],
        "use 2816M at most",
    );
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--memory", "33M"],
        "multiple",
    );
    refuses(
        &place,
        &[
            "boot", "--kernel", &kernel, "--initrd", &initrd, "--memory", "32M",
        ],
        "too little",
    );
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--memory-base", "0"],
        "too low",
    );
}

#[test]
fn iommus_that_make_no_sense() {
    let place = TestDirectory::new();
    let (kernel, disk) = (place.path("zImage"), place.path("disk"));
    let with = |port: &str| format!("{disk},iommu={port}");
    let cases: [(&[&str], &str); 12] = [
        (&["--iommu", "smmu"], "is not an IOMMU"),
        (&["--disk", &with("ipmmu0:3")], "the machine has no IOMMU"),
        (
            &["--iommu", "ipmmu", "--disk", &with("other")],
            "there is ipmmu0",
        ),
        (
            &["--iommu", "ipmmu", "--disk", &with("ipmmu0:32")],
            "uTLBs 0 to 31",
        ),
        (
            &["--iommu", "ipmmu", "--disk", &with("ipmmu0:x")],
            "is not the number of a uTLB",
        ),
        (
            &["--iommu", "ipmmu", "--iommu", "ipmmu-gen3"],
            "of one model",
        ),
        (&["--rng", "maybe"], "is not true, false or iommu=NAME:N"),
        (&["--iommu", "ipmmu,name=x,name=y"], "names the IOMMU twice"),
        (&["--iommu", "none,name=x"], "cannot be named \"x\""),
        (&["--iommu", "ipmmu,name=rng"], "two devices would be named"),
        (&["--disk", &with("none,iommu=none")], "says iommu twice"),
        (&["--trace", "iommu"], "the machine has no IOMMU"),
    ];
    for (arguments, words) in cases {
        refuses(
            &place,
            &[&["boot", "--kernel", &kernel], arguments].concat(),
            words,
        );
    }
}

#[test]
fn a_disk_that_another_machine_has() {
    let place = TestDirectory::new();
    let (kernel, disk) = (place.path("zImage"), place.path("disk"));
    // The first machine spins until it is ended, and its console file appears once it has its disk.
    let console = place.path("console");
    let mut first = vmm(&[
        "boot",
        "--kernel",
        &kernel,
        "--disk",
        &disk,
        "--console",
        &console,
    ]);
    let mut first = first.stderr(std::process::Stdio::null()).spawn().unwrap();
    while !Path::new(&console).exists() {
        assert!(
            first.try_wait().unwrap().is_none(),
            "the first machine ended early"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--disk", &disk],
        "is in use by another program",
    );
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--disk", &format!("{disk},ro")],
        "is in use by another program",
    );
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn flag_values_that_make_no_sense() {
    let place = TestDirectory::new();
    let kernel = place.path("zImage");
    for (flag, value, words) in [
        ("--memory", "1T", "is not a size"),
        ("--cpus", "0", "1 to 4 CPUs"),
        ("--cpus", "5", "1 to 4 CPUs"),
        ("--cpus", "many", "is not a number of CPUs"),
        ("--cpus", "99999999999", "1 to 4 CPUs, not 99999999999"),
        ("--memory-base", "foo", "\"foo\" is not an address"),
        ("--trace", "foo", "\"foo\" is not known: use iommu"),
        ("--disk", ",ro", "file name"),
        ("--disk", "d,rw", "is not a disk option"),
        (
            "--time",
            "fast",
            "\"fast\" is not known: use virtual or host",
        ),
        ("--timeout", "0", "is not a time limit"),
        ("--timeout", "soon", "is not a number of seconds"),
        ("--seed", "-1", "--seed"),
        ("--expect", "(", "is not a pattern"),
        ("--kernel-format", "elf", "zimage"),
        ("--cmdline", "a\nb", "printable"),
        ("--frobnicate", "x", "unexpected argument"),
        (
            "--json",
            "/nonexistent/out.json",
            "cannot write the summary",
        ),
        (
            "--console",
            "/nonexistent/console",
            "cannot write the console's file",
        ),
    ] {
        refuses(
            &place,
            &["boot", "--kernel", &kernel, &format!("{flag}={value}")],
            words,
        );
    }
    let long = "x".repeat(2000);
    refuses(
        &place,
        &["boot", "--kernel", &kernel, "--cmdline", &long],
        "at most 1023",
    );
}

#[test]
fn acceleration_that_cannot_be() {
    let place = TestDirectory::new();
    let kernel = place.path("zImage");
    let boot = |flags: &[&'static str]| [&["boot", "--kernel", &kernel], flags].concat();
    for (flags, words) in [
        (&["--accel=fast"][..], "use auto or emulated or kvm"),
        (
            &["--accel=kvm", "--time=virtual"],
            "virtual time is the emulated processor's alone",
        ),
    ] {
        refuses(&place, &boot(flags), words);
    }
    if cfg!(not(target_arch = "aarch64")) {
        refuses(
            &place,
            &boot(&["--accel=kvm"]),
            "KVM cannot be used: this host's processor is not a 64-bit ARM one",
        );
        refuses(
            &place,
            &["lab", "run", "rebind", "--accel=kvm"],
            "KVM cannot be used: this host's processor is not a 64-bit ARM one",
        );
    }
    let auto = ["--accel=auto", "--timeout=0.1", "--console=none"];
    let ended = run(&boot(&auto));
    assert_eq!(ended.code, Some(124), "{ended:?}");
    let said = "vmm: the processor is emulated: virtual time is the emulated processor's alone\n";
    assert!(ended.stderr.starts_with(said), "{ended:?}");
}

#[test]
fn configuration_files_with_mistakes() {
    let place = TestDirectory::new();
    let config = place.path("machine.toml");
    for (text, words) in [
        (
            "kernel = 'zImage'\nmemroy = '1G'\n",
            "line 2: unknown field `memroy`",
        ),
        ("kernel = 'zImage'\ncpus = 'four'\n", "line 2"),
        ("kernel = 'zImage\n", "line 1"),
        ("kernel = 'none'\n", "none"),
        (
            "kernel = 'zImage'\n[[disk]]\npath = 'disk'\nqueues = 0\n",
            "queues",
        ),
    ] {
        fs::write(&config, text).unwrap();
        refuses(&place, &["boot", "--config", &config], words);
    }
}

#[test]
fn a_configuration_without_end() {
    let place = TestDirectory::new();
    refuses(&place, &["boot", "--config", "/dev/zero"], "too much");
}

#[test]
fn a_summary_in_the_place_of_the_console() {
    let place = TestDirectory::new();
    let (kernel, out) = (place.path("zImage"), place.path("out"));
    let again = place.path("./out");
    let arguments = [
        "boot",
        "--kernel",
        &kernel,
        "--console",
        &out,
        "--json",
        &again,
    ];
    refuses(&place, &arguments, "name two files");
}

#[test]
fn a_log_filter_that_means_nothing() {
    let ended: Ended = vmm(&["images", "list"])
        .env("VMM_LOG", "vmm=loud=er")
        .output()
        .unwrap()
        .into();
    assert_sentence(&ended, "VMM_LOG");
}

#[test]
fn a_cache_that_cannot_be() {
    let place = TestDirectory::new();
    let text = place.path("text");
    let ended: Ended = vmm(&["boot", "--image", "ipmmu"])
        .env("VIOMMU_CACHE", &text)
        .output()
        .unwrap()
        .into();
    assert_sentence(&ended, "The image cache cannot be written at");
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [
        &["--help"][..],
        &["boot", "--help"],
        &["images", "--help"],
        &["demo", "--help"],
        &["--version"],
    ] {
        let ended = run(arguments);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(!ended.stdout.is_empty());
    }
    assert_eq!(
        run(&["--version"]).stdout,
        concat!("vmm ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
