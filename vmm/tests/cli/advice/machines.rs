//! What a machine can be.

use std::fs;
use std::process::Stdio;

use super::TestDirectory;
use crate::{Ended, vmm};

/// Flags beside `--kernel`, the advice that they get, and flags as it says.
const MACHINES: [(&str, &[&str], &[&str]); 31] = [
    (
        "--disk disk,rw",
        &["use ro, overlay, raw, queues=N, iommu=NAME:N, clock=NAME, broken or coherent"],
        &[
            "--disk disk,ro",
            "--disk disk,overlay",
            "--disk disk,raw",
            "--disk disk,queues=2",
            "--disk disk,iommu=ipmmu0:3 --iommu ipmmu",
            "--disk disk,clock=late0",
            "--disk disk,broken",
            "--disk disk,coherent",
        ],
    ),
    (
        "--disk disk,queues=x",
        &["\"x\" is not a number of queues: use 1 to 8"],
        &["--disk disk,queues=1", "--disk disk,queues=8"],
    ),
    (
        "--disk disk,queues=9",
        &["may have 1 to 8 queues"],
        &["--disk disk,queues=8"],
    ),
    (
        "--disk disk,ro,overlay",
        &["say one of ro and overlay"],
        &["--disk disk,ro", "--disk disk,overlay"],
    ),
    (
        "--disk disk --disk ./disk",
        &["name another file, or add ,ro or ,overlay to both"],
        &[
            "--disk disk --disk other",
            "--disk disk,ro --disk ./disk,ro",
            "--disk disk,overlay --disk ./disk,overlay",
        ],
    ),
    (
        "--disk disk,clock=a+b",
        &["use up to 16 letters, digits, - and _"],
        &[
            "--disk disk,clock=A-b_1",
            "--disk disk,clock=abcdefghijklmnop",
        ],
    ),
    (
        "--iommu smmu",
        &["use none, ipmmu, ipmmu-gen3, rockchip, rockchip-v2, smmuv2, virtio or bridge"],
        &[
            "--iommu none",
            "--iommu ipmmu",
            "--iommu ipmmu-gen3",
            "--iommu rockchip --rng iommu=none",
            "--iommu rockchip-v2 --rng iommu=none",
            "--iommu smmuv2",
            "--iommu virtio",
            "--iommu bridge",
        ],
    ),
    (
        "--iommu virtio,fast",
        &["use name=NAME, or bypass=BOOL or indirect=BOOL for virtio"],
        &[
            "--iommu virtio,name=x",
            "--iommu virtio,bypass=false",
            "--iommu virtio,indirect=true",
        ],
    ),
    (
        "--iommu ipmmu --disk disk,iommu=",
        &["by iommu=NAME, with a uTLB by iommu=NAME:N, and none by iommu=none"],
        &[
            "--iommu ipmmu --disk disk,iommu=ipmmu0",
            "--iommu ipmmu --disk disk,iommu=ipmmu0:31",
            "--iommu ipmmu --disk disk,iommu=none",
        ],
    ),
    (
        "--disk disk,iommu=ipmmu0:3",
        &["add one with --iommu ipmmu, or iommu = \"ipmmu\" in a file"],
        &[
            "--disk disk,iommu=ipmmu0:3 --iommu ipmmu",
            "--disk disk,iommu=ipmmu0:3 --config iommu.toml",
        ],
    ),
    (
        "--iommu ipmmu --disk disk,iommu=other",
        &["there is ipmmu0"],
        &["--iommu ipmmu --disk disk,iommu=ipmmu0"],
    ),
    (
        "--iommu ipmmu --disk disk,iommu=ipmmu0:32",
        &["which has uTLBs 0 to 31"],
        &["--iommu ipmmu --disk disk,iommu=ipmmu0:31"],
    ),
    (
        "--iommu ipmmu,name=a --iommu ipmmu,name=a",
        &["give them different names"],
        &["--iommu ipmmu,name=a --iommu ipmmu,name=b"],
    ),
    (
        "--iommu ipmmu,name=rng",
        &["choose another name"],
        &["--iommu ipmmu,name=other"],
    ),
    (
        "--iommu ipmmu,name=a+b",
        &["use up to 16 letters, digits, - and _, but not \"none\""],
        &["--iommu ipmmu,name=A-b_1"],
    ),
    (
        "--iommu none,name=x",
        &["leave the name out, or name a model"],
        &["--iommu none", "--iommu ipmmu,name=x"],
    ),
    (
        "--iommu none --iommu ipmmu",
        &["use \"none\" alone"],
        &["--iommu none"],
    ),
    (
        "--trace iommu",
        &["add one with --iommu"],
        &["--trace iommu --iommu ipmmu"],
    ),
    (
        "--trace all",
        &["use iommu"],
        &["--trace iommu --iommu ipmmu"],
    ),
    (
        "--memory 1T",
        &["write a number of bytes, or one with K, M or G"],
        &[
            "--memory 67108864",
            "--memory 65536K",
            "--memory 64M",
            "--memory 1G",
        ],
    ),
    ("--memory 33M", &["not a multiple of 2M"], &["--memory 34M"]),
    (
        "--memory 2M",
        &["a kernel needs at least 16M"],
        &["--memory 16M"],
    ),
    (
        "--memory-base x",
        &["write one such as 0x80000000 or 2G"],
        &["--memory-base 0x80000000", "--memory-base 2G"],
    ),
    (
        "--memory 32M --initrd initrd",
        &["use more memory"],
        &["--memory 128M --initrd initrd"],
    ),
    ("--cpus five", &["use 1 to 4"], &["--cpus 1", "--cpus 4"]),
    (
        "--seed=-1",
        &["use a whole number from 0 on"],
        &["--seed 0", "--seed 7"],
    ),
    ("--seed -1", &["use a number from 0 on"], &["--seed 0"]),
    (
        "--epoch later",
        &["write seconds since 1970-01-01 00:00 UTC, 0 to 4294967295, or now"],
        &["--epoch 0", "--epoch 4294967295", "--epoch now"],
    ),
    (
        "--time fast",
        &["use virtual or host"],
        &["--time virtual", "--time host"],
    ),
    (
        "--rng maybe",
        &["true, false or iommu=NAME:N"],
        &[
            "--rng true",
            "--rng false",
            "--rng iommu=ipmmu0:1 --iommu ipmmu",
        ],
    ),
    (
        "--gdb host:1",
        &["say PORT for this host's own debuggers, or ADDRESS:PORT, such as 0.0.0.0:1234"],
        &[
            "--gdb 0 --wall-timeout 0.1",
            "--gdb 127.0.0.1:0 --wall-timeout 0.1",
        ],
    ),
];

#[test]
fn advice_about_machines_helps() {
    let place = TestDirectory::new();
    fs::write(place.0.path().join("iommu.toml"), "iommu = \"ipmmu\"\n").unwrap();
    for (mistake, words, advice) in MACHINES {
        place.refuses(&format!("boot --kernel zImage {mistake}"), words);
        advice.iter().for_each(|flags| place.boots(flags));
    }
}

#[test]
fn a_disk_in_use_can_be_had_as_the_sentence_says() {
    let place = TestDirectory::new();
    let spins = |options: &str| {
        let disk = format!("disk{options}");
        let mut command = vmm(&[
            "boot",
            "--kernel",
            "zImage",
            "--console",
            "up",
            "--disk",
            &disk,
        ]);
        let child = command.current_dir(&place.0).stderr(Stdio::null()).spawn();
        while !place.0.path().join("up").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        fs::remove_file(place.0.path().join("up")).unwrap();
        child.unwrap()
    };
    let mut first = spins("");
    let words = ["(use it read-only in both, or stop the other)"];
    place.refuses("boot --kernel zImage --disk disk,ro", &words);
    first.kill().unwrap();
    first.wait().unwrap();
    place.boots("--disk disk");
    let mut first = spins(",ro");
    place.boots("--disk disk,ro");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_log_can_be_had_as_the_sentence_says() {
    let place = TestDirectory::new();
    let boot = |filter: &str| -> Ended {
        let line = "boot --kernel off --kernel-format image";
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = vmm(&words);
        command.current_dir(&place.0).env("VMM_LOG", filter);
        command.output().unwrap().into()
    };
    let ended = boot("vmm=loud=er");
    let words = "use a level such as debug, or directives such as vmm=trace";
    assert!(
        ended.code == Some(2) && ended.stderr.contains(words),
        "{ended:?}"
    );
    for filter in ["debug", "vmm=trace"] {
        let ended = boot(filter);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}
