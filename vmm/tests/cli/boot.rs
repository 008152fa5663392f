//! `vmm boot` with a real guest.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Ended, run, vmm};

const BOOT: [&str; 4] = ["boot", "--image", "ipmmu", "--wall-timeout=900"];

fn boot(more: &[&str]) -> Ended {
    run(&[&BOOT, more].concat())
}

#[test]
fn commands_run_and_the_guest_powers_off() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let ended = boot(&[
        "--run",
        "echo $((6 * 7)) is 'the answer'",
        "--run=true",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stdout("guest: ready\r\n42 is the answer\r\n");
    ended.assert_stderr("vmm: the guest powered off after ");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["outcome"], "success");
    assert_eq!(report["exit"], "power-off");
    assert_eq!(report["image"], "ipmmu");
    assert_eq!(report["command_statuses"], serde_json::json!([0, 0]));
    assert_eq!(report["console_bytes"], ended.stdout.len());
    assert!(
        report["instructions"].as_u64().unwrap() > 10_000_000,
        "{report}"
    );
    assert!(report["exits"]["mmio"].is_object(), "{report}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

/// The stock kernel of Debian that its zImage unpacks to: the one xz stream in it that is whole.
fn unpacked(zimage: &[u8]) -> Vec<u8> {
    let magic = b"\xfd7zXZ\0";
    let starts = (0..zimage.len()).filter(|at| zimage[*at..].starts_with(magic));
    for at in starts {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&zimage[at..]).unwrap();
        file.rewind().unwrap();
        // It complains about what follows the stream, and the magic number is in the code that
        // looks for it, too.
        let mut xz = Command::new("xz");
        let out = xz.args(["-dc", "--single-stream"]).stdin(file).output();
        let out = out.expect("xz should be installed").stdout;
        if out.len() > zimage.len() {
            return out;
        }
    }
    panic!("there is no xz stream in the kernel");
}

/// Writes the unpacked stock kernel into `directory`; returns its path.
fn raw_image(directory: &Path) -> String {
    let list = run(&["images", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let stock = list.as_array().unwrap().iter();
    let mut stock = stock.filter(|image| image["name"] == "debian-armmp-6.1");
    let path = stock.next().unwrap()["kernel"].as_str();
    let zimage = fs::read(path.expect("debian-armmp should be in the cache")).unwrap();
    let image = directory.join("Image");
    fs::write(&image, unpacked(&zimage)).unwrap();
    image.display().to_string()
}

#[test]
fn a_raw_image_lies_where_it_is_linked() {
    let directory = tempfile::tempdir().unwrap();
    let image = raw_image(directory.path());
    let wait = ["--expect", "Linux version 6.1", "--timeout", "5"];
    let ended = run(&[&["boot", "--kernel", &image][..], &wait].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_kernel_boots_with_the_initial_file_system_of_an_image() {
    let directory = tempfile::tempdir().unwrap();
    let image = raw_image(directory.path());
    let ended = boot(&["--kernel", &image, "--run=uname -r"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stdout("guest: ready\r\n6.1.0-");
    ended.assert_stdout("-armmp\r\n");
    // Its modules are for the image's kernel.
    let stock = ["boot", "--image=debian-armmp-7.2", "--kernel", &image];
    let ended = run(&[&stock[..], &["--run=uname -r", "--wall-timeout=900"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stdout("virtio_mmio.ko is for another kernel\r\n");
    // It is known before an image is obtained that they do not fit.
    let refused = run(&["boot", "--image=debian-arm64-6.12", "--kernel", &image]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    refused.assert_stderr("is a kernel of 32 bits, and debian-arm64-6.12 is an image for 64 bits");
}

#[test]
fn memory_that_a_kernel_leaves_unused_is_said_and_the_advice_is_right() {
    let ended = boot(&["--memory=2G", "--console=none"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let advice = "has no CONFIG_HIGHMEM and leaves 1280M of its 2G of memory unused: --memory 768M";
    ended.assert_stderr(advice);
    let ended = boot(&["--memory=768M", "--console=none"]);
    assert!(!ended.stderr.contains("HIGHMEM"), "{ended:?}");
}

#[test]
fn commands_can_power_off_halt_and_reboot() {
    // By themselves, within a program, and where something would go on for a long time after.
    let ends = [
        ("poweroff; sleep 100000; echo $((1 + 1)) much", 0),
        ("sh -c 'poweroff; exit 0'", 0),
        ("halt", 0),
        ("reboot; sleep 100000", 1),
        ("printf 'reboot\\n' >/tmp/script; sh /tmp/script", 1),
    ];
    for (command, code) in ends {
        let ended = boot(&["--run", command, "--timeout=1000"]);
        assert_eq!(ended.code, Some(code), "{command}: {ended:?}");
        assert!(!ended.stdout.contains("2 much"), "{ended:?}");
        ended.assert_stdout("guest: command 1 exited with 0");
        let how = if code == 0 {
            "the guest powered off"
        } else {
            "the guest asked for a reset"
        };
        assert!(ended.stderr.contains(how), "{command}: {ended:?}");
    }
}

#[test]
fn a_command_that_fails_is_exit_code_1() {
    let ended = boot(&["--run=exit 3", "--console=none"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stderr("but command 1 exited with 3");
    assert_eq!(ended.stdout, "");
}

#[test]
fn an_expectation_ends_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let ended = boot(&[
        "--run=sleep 1000",
        "--expect=^guest: r.*y$",
        "--console",
        log.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("guest: ready") && !log.contains("exited with"),
        "{log}"
    );
    assert_eq!(boot(&["--expect=no such words"]).code, Some(1));
}

#[test]
fn a_time_limit_ends_the_run_with_124() {
    let ended = boot(&["--run=sleep 1000", "--timeout=30", "--expect=exited"]);
    assert_eq!(ended.code, Some(124), "{ended:?}");
    ended.assert_stdout("guest: ready");
    ended.assert_stderr("ran out of its time");
}

#[test]
fn a_panic_is_exit_code_1() {
    let ended = boot(&["--run=echo c >/proc/sysrq-trigger"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stderr("asked for a reset");
}

#[test]
fn a_reader_that_leaves_does_not_end_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let mut command = vmm(&[&BOOT[..], &["--run=true", "--json", json.to_str().unwrap()]].concat());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["exit"], "power-off");
    assert!(report["console_bytes"].as_u64().unwrap() > 1000, "{report}");
}

#[test]
fn a_console_file_that_is_not_complete_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let ended = boot(&[
        "--quiet",
        "--run=true",
        "--console=/dev/full",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    ended.assert_stderr("cannot write all of the console's file");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(
        (&report["exit"], &report["exit_code"]),
        (&Value::from("power-off"), &Value::from(2)),
        "the guest goes on without: {report}"
    );
}

#[test]
fn an_output_that_takes_nothing_is_said_and_the_guest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let more = ["--run=true", "--json", json.to_str().unwrap()];
    let ended: Ended = vmm(&[&BOOT[..], &more].concat())
        .stdout(full.unwrap())
        .output()
        .unwrap()
        .into();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let told = "cannot write to the standard output";
    assert_eq!(ended.stderr.matches(told).count(), 1, "{ended:?}");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(
        (&report["exit"], &report["exit_code"]),
        (&Value::from("power-off"), &Value::from(2)),
        "{report}"
    );
}

#[test]
fn a_disk_that_the_host_cannot_write_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let boot = vmm(&BOOT);
    // No file beyond a few KiB; without the trap that would be a deadly signal.
    let ended: Ended = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(boot.get_program())
        .args(boot.get_args())
        .args(["--quiet", "--console=none", "--disk"])
        .arg(&disk)
        .arg("--run=! dd if=/dev/zero of=/dev/vda bs=64k count=4 oflag=direct")
        .output()
        .unwrap()
        .into();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stderr("the file of a disk: File too large");
    assert!(!ended.stderr.contains('\x1b'), "no colours: {ended:?}");
}

/// Boots a guest that waits for long, and sends the program a signal once the guest is up.
fn signalled(signal: &str) -> (Option<i32>, Value) {
    let directory = tempfile::tempdir().unwrap();
    let (json, log) = (
        directory.path().join("out.json"),
        directory.path().join("log"),
    );
    let arguments = [
        "--time=host",
        "--run=sleep 4",
        "--json",
        json.to_str().unwrap(),
        "--console",
        log.to_str().unwrap(),
    ];
    let mut child = vmm(&[&BOOT[..], &arguments].concat())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !fs::read_to_string(&log).is_ok_and(|text| text.contains("guest: ready")) {
        assert!(child.try_wait().unwrap().is_none(), "the guest ended early");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {}", child.id())])
        .status();
    assert!(kill.unwrap().success());
    let code = child.wait().unwrap().code();
    (
        code,
        serde_json::from_slice(&fs::read(&json).unwrap()).unwrap(),
    )
}

#[test]
fn signals_end_the_run_in_good_order() {
    for (signal, code) in [("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let (ended, report) = signalled(signal);
        assert_eq!(
            (ended, &report["exit"]),
            (Some(code), &Value::from("stopped")),
            "{report}"
        );
        assert_eq!(report["exit_code"], code);
    }
}

#[test]
fn a_hang_up_does_not_end_the_run() {
    let (ended, report) = signalled("HUP");
    assert_eq!(
        (ended, &report["exit"]),
        (Some(0), &Value::from("power-off")),
        "{report}"
    );
}

#[test]
fn what_is_piped_in_is_typed() {
    let mut command = vmm(&[&BOOT[..], &["--shell", "--time=host"]].concat());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // As on any serial line, what comes before the guest listens is lost.
    let (mut output, mut shown) = (child.stdout.take().unwrap(), Vec::new());
    while !shown.ends_with(b"# ") {
        let mut byte = [0];
        output
            .read_exact(&mut byte)
            .expect("the shell should come up");
        shown.extend(byte);
    }
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"echo $((40 + 2)) typed\nexit\n").unwrap();
    drop(input);
    output.read_to_end(&mut shown).unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("42 typed\r\n"), "{shown}");
}

#[test]
fn a_configuration_file_describes_a_run() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("disk"), "on the disk\n".repeat(1024)).unwrap();
    let config = directory.path().join("machine.toml");
    let text = "image = 'ipmmu'\ncpus = 2\ndisk = ['disk,ro']\njson = 'out.json'\nquiet = true\n\
                run = ['grep -c ^processor /proc/cpuinfo', 'head -n 1 /dev/vda']\n";
    fs::write(&config, text).unwrap();
    let ended = run(&["boot", "--config", config.to_str().unwrap(), "--cpus=3"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    ended.assert_stdout("guest: ready\r\n3\r\n");
    ended.assert_stdout("\non the disk\r\n");
    assert!(directory.path().join("out.json").exists());
}
