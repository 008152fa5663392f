//! Mistakes are told before anything is fetched or built: with an empty cache, and a mirror that
//! nobody serves.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::{Ended, vmm};

/// An empty cache, and files to be wrong with.
struct TestDirectory {
    directory: TempDir,
}

impl TestDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        fs::create_dir(place.directory.path().join("cache")).unwrap();
        for (name, bytes) in [
            ("disk", vec![0; 4096]),
            ("odd", vec![0; 1000]),
            ("initrd", vec![0; 64 << 20]),
            ("journal", b"a journal\n".to_vec()),
            ("script", b"#!/bin/sh\n".to_vec()),
            (
                "wrong.toml",
                b"title = 't'\n[[fault]]\nwhere = 'disk'\nwhat = 'stuck'\n".to_vec(),
            ),
            (
                "names.toml",
                b"title = 't'\n[[fault]]\nwhere = 'function'\nwhat = 'error'\nfunction = '2nd'\nvalue = 1\n"
                    .to_vec(),
            ),
            (
                "elsewhere.toml",
                b"title = 't'\n[[fault]]\nwhere = 'disk'\nwhat = 'flip'\ndevice = 'disk7'\n"
                    .to_vec(),
            ),
        ] {
            fs::write(place.directory.path().join(name), bytes).unwrap();
        }
        place
    }

    /// Runs the program; `@` before a name stands for the directory.
    fn run(&self, line: &str) -> Ended {
        let directory = format!("{}/", self.directory.path().display());
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.replace('@', &directory))
            .collect();
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        vmm(&arguments)
            .env("VIOMMU_CACHE", self.directory.path().join("cache"))
            .env("VIOMMU_DEBIAN_MIRROR", "http://127.0.0.1:1")
            .output()
            .unwrap()
            .into()
    }

    /// That a command line ends with a sentence that holds `words`, and that nothing was fetched.
    fn refuses(&self, line: &str, words: &str) {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {words:?}: {ended:?}");
        let cache = self.directory.path().join("cache");
        assert_eq!(
            fs::read_dir(cache).unwrap().count(),
            0,
            "{line}: something was begun"
        );
    }
}

#[test]
fn mistakes_of_machines_are_told_first() {
    let place = TestDirectory::new();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("--gdb {}", busy.local_addr().unwrap());
    for (mistake, words) in [
        ("--disk @none", "cannot open the disk"),
        ("--disk @", "neither a file nor a block device"),
        ("--disk @odd", "truncate -s %512"),
        ("--disk @disk --disk @disk", "are one file"),
        ("--disk @disk,ro,overlay", "both read-only and an overlay"),
        ("--initrd @none", "cannot read the initrd"),
        (
            "--vmlinux debian-armmp --probe f",
            "is not here: vmm images fetch --debug-info debian-armmp-6.1",
        ),
        (
            "--initrd @initrd --memory 64M",
            "too little for an initrd of 64M",
        ),
        ("--memory 3G", "use 2816M at most"),
        ("--memory 2M", "too little"),
        ("--cmdline \u{e9}", "not printable ASCII"),
        ("--probe f@nowhere", "cannot read the probe"),
        ("--expect (", "is not a pattern"),
        ("--json @none/out", "cannot write the summary"),
        ("--console @none/out", "cannot write the console's file"),
        ("--timeline @out.pdf", "what form the timeline shall have"),
        ("--timeline @none/out.html", "cannot write the timeline"),
        (
            "--accel kvm --time virtual",
            "virtual time is the emulated processor's alone",
        ),
        ("--trace iommu", "the machine has no IOMMU"),
        (&port, "cannot wait for a debugger"),
    ] {
        for command in ["boot", "snapshot save @snap --at 1"] {
            place.refuses(&format!("{command} --image ipmmu {mistake}"), words);
        }
    }
    for command in ["boot", "snapshot save @snap --at 1"] {
        place.refuses(&format!("{command} --image none"), "no image named");
        place.refuses(
            &format!("{command} --image debian-arm64-6.12"),
            "an arm64 kernel",
        );
    }
    place.refuses(
        "boot --image ipmmu --record @none/r",
        "cannot write the recording",
    );
    place.refuses(
        "snapshot save @none/snap --image ipmmu --at 1",
        "cannot write the snapshot",
    );
    place.refuses("snapshot save @snap --image ipmmu", "no moment to save at");
    place.refuses(
        "snapshot save @snap --image ipmmu --probe f{print(r0)}",
        "no moment to save at",
    );
    place.refuses(
        "snapshot save @snap --image ipmmu --at 1 --json @snap",
        "name two files",
    );
}

#[test]
fn mistakes_of_campaigns_scenarios_and_the_demo_are_told_first() {
    let place = TestDirectory::new();
    for (line, words) in [
        ("inject nonsense", "there is no plan"),
        ("inject @none.toml", "cannot read"),
        ("inject @wrong.toml", "unknown variant `stuck`"),
        ("inject @elsewhere.toml", "there is no device disk7"),
        ("inject none --runs 0", "runs nothing"),
        ("inject none --run 1000000", "there is no run 1000000"),
        ("inject none --systematic --run 0", "there is no run 0"),
        ("inject @names.toml", "cannot be a function of a kernel"),
        ("inject none --resume", "--journal or --report"),
        ("inject none --json @none/out", "cannot write the results"),
        ("inject none --json @out --junit @out", "name two"),
        ("inject none --report @disk", "the report directory"),
        (
            "inject none --journal @journal",
            "go on with it by --resume",
        ),
        (
            "inject none --journal @journal --resume",
            "no journal of a campaign",
        ),
        ("inject none --journal @none/j", "cannot write the journal"),
        (
            "inject none --run 1 --timeline @t.pdf",
            "what form the timeline",
        ),
        ("lab run nonsense", "there is no scenario"),
        ("lab run @none.toml", "cannot read"),
        ("lab run rebind --image none", "no image named"),
        (
            "lab run rebind --image debian-arm64-6.12",
            "an arm64 kernel",
        ),
        ("lab run rebind --kernel @none", "cannot read"),
        ("lab run rebind --kernel @script", "it is a script"),
        ("lab matrix rebind --kernel @script", "it is a script"),
        (
            "lab run rebind --kernel @disk --module @disk",
            "it is not a kernel module",
        ),
        ("lab matrix rebind --kernel @disk,", "names no file"),
        (
            "lab run rebind --kernel @disk --module @none",
            "cannot read",
        ),
        (
            "lab run rebind --json @none/out",
            "cannot write the results",
        ),
        (
            "lab run rebind --report @disk",
            "cannot write to the report directory",
        ),
        ("lab run rebind --jobs 0", "the number must be 1 or more"),
        ("lab matrix rebind --kernel ,", "names no file"),
        ("lab matrix rebind --image none", "no image named"),
        ("lab matrix rebind --kernel @none", "cannot read"),
        ("demo --report @disk", "to the report directory"),
        ("demo --stock-only --report @disk", "the report directory"),
        ("images fetch ipmmu none", "no image named"),
    ] {
        place.refuses(line, words);
    }
    if cfg!(not(target_arch = "aarch64")) {
        for line in [
            "boot --image ipmmu",
            "lab run rebind",
            "snapshot save @s --at 1 --image ipmmu",
        ] {
            place.refuses(
                &format!("{line} --accel kvm"),
                "KVM cannot be used: this host's processor",
            );
        }
    }
}
