//! Named pipes in the place of files: whoever is not at their other end is never waited for beyond
//! the end of a run.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Ended, vmm};

/// What is done at once on a host that has nothing else to do is done within this on one that has.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Powers off: mov r0, #0x84000000; orr r0, r0, #8; hvc.
const OFF: [u32; 3] = [0xe3a0_0484, 0xe380_0008, 0xe140_0070];
/// mov r1, #0x09000000 (the UART); mov r0, #'x'; strb r0, [r1]; b back
const TALK: [u32; 4] = [0xe3a0_1409, 0xe3a0_0078, 0xe5c1_0000, 0xeaff_fffd];

/// A directory with guests, a snapshot, a recording that goes on from it, and a named pipe.
struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (name, program) in [("off", &OFF[..]), ("talk", &TALK)] {
            let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
            fs::write(place.at(name), bytes).unwrap();
        }
        fs::write(place.at("disk"), [0; 4096]).unwrap();
        fs::create_dir(place.at("cache")).unwrap();
        for line in [
            "snapshot save snapshot --kernel off --kernel-format image --disk disk,overlay --at-instruction 1",
            "snapshot restore snapshot --record recording",
            "boot --kernel off --kernel-format image --record booted",
        ] {
            let ended: Ended = place.vmm(line).output().unwrap().into();
            assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        }
        place.shell("mkfifo pipe");
        place
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn shell(&self, script: &str) {
        let mut shell = Command::new("sh");
        let status = shell
            .args(["-ec", script])
            .current_dir(&self.0)
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    fn vmm(&self, line: &str) -> Command {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = vmm(&arguments);
        command
            .current_dir(&self.0)
            .env("VIOMMU_CACHE", self.at("cache"))
            .env("VIOMMU_DEBIAN_MIRROR", "http://127.0.0.1:1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// That a command line does not wait, and ends with one sentence that holds `words`.
    fn refuses(&self, line: &str, words: &str) {
        let ended = ends(self.vmm(line).spawn().unwrap(), line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {words:?}: {ended:?}");
    }
}

/// Waits for its end, which is not to take long.
fn ends(mut child: Child, line: &str) -> Ended {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > WATCHDOG {
            child.kill().unwrap();
            panic!("{line} waits");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

#[test]
fn as_inputs_they_are_refused() {
    let place = TestDirectory::new();
    let words = "pipe: write what comes from it to a file first";
    for line in [
        "boot --config pipe",
        "boot --kernel pipe",
        "boot --kernel off --kernel-format image --initrd pipe",
        "boot --replay pipe",
        "boot --kernel off --kernel-format image --faults ./pipe",
        "snapshot restore snapshot --faults ./pipe",
        "inject ./pipe",
        "inject none --journal pipe",
        "lab run ./pipe",
        "lab run rebind --kernel pipe",
        "lab run rebind --kernel off --module pipe",
        "lab matrix rebind --kernel pipe",
        "lab matrix rebind --kernel off,pipe",
        "lab run rebind --vmlinux pipe",
        "lab matrix rebind --vmlinux pipe",
        "lab merge pipe",
        "boot --kernel off --kernel-format image --probe f --vmlinux pipe",
        "snapshot save snap --at 1 --kernel off --kernel-format image --probe f --vmlinux pipe",
        "snapshot restore snapshot --probe f --vmlinux pipe",
        "boot --kernel off --kernel-format image --dma-script pipe",
        "snapshot save snap --at 1 --kernel off --kernel-format image --dma-script pipe",
        "snapshot save snap --at 1 --config pipe",
        "snapshot save snap --at 1 --kernel pipe",
        "snapshot save snap --at 1 --kernel off --kernel-format image --initrd pipe",
        "snapshot restore pipe",
        "snapshot describe pipe",
    ] {
        place.refuses(line, words);
    }
    for line in [
        "boot --kernel off --kernel-format image --disk pipe",
        "boot --rootfs debian:bookworm --rootfs-disk pipe",
        "snapshot save snap --at 1 --rootfs debian:bookworm --rootfs-disk pipe",
        "snapshot save snap --at 1 --kernel off --kernel-format image --disk pipe",
        "snapshot restore snapshot --disk disk0=pipe",
        "boot --replay recording --snapshot pipe",
        "boot --replay booted --kernel pipe",
    ] {
        place.refuses(line, "neither a file nor a block device");
    }
    // As the sentence says.
    let text = format!(
        "kernel = '{}'\nkernel-format = 'image'\n",
        place.at("off").display()
    );
    fs::write(place.at("config"), text).unwrap();
    place.shell("cat config >pipe & cat pipe >file; wait");
    let ended: Ended = place.vmm("boot --config file").output().unwrap().into();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // What a shell connects is read.
    for line in [
        "boot --config /dev/stdin",
        "boot --console none --config /proc/self/fd/0",
    ] {
        let (input, mut output) = std::io::pipe().unwrap();
        let child = place.vmm(line).stdin(input).spawn().unwrap();
        output
            .write_all(&fs::read(place.at("config")).unwrap())
            .unwrap();
        drop(output);
        let ended = ends(child, line);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// Commands that write the pipe, and run without an image.
const WRITE: [&str; 9] = [
    "boot --kernel off --kernel-format image --console pipe",
    "boot --kernel off --kernel-format image --json pipe",
    "boot --kernel off --kernel-format image --record pipe",
    "snapshot save pipe --at-instruction 1 --kernel off --kernel-format image",
    "snapshot save snap --at-instruction 1 --kernel off --kernel-format image --json pipe",
    "snapshot save snap --at-instruction 1 --kernel off --kernel-format image --console pipe",
    "snapshot restore snapshot --json pipe",
    "snapshot restore snapshot --console pipe",
    "snapshot restore snapshot --record pipe",
];

#[test]
fn as_outputs_they_have_a_reader() {
    let place = TestDirectory::new();
    let words = "it is a pipe that nobody reads: start its reader first, or name a file";
    for line in WRITE {
        place.refuses(line, words);
        let whole = fs::read(place.at("read")).map_or(0, |bytes| bytes.len());
        assert_eq!(whole, 0, "{line}");
        // As the sentence says.
        let path = place.at("pipe");
        let reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        let reader = thread::spawn({
            let mut reader = reader.unwrap();
            move || {
                let (mut all, mut buffer) = (Vec::new(), [0; 1 << 16]);
                let begin = Instant::now();
                // Before its writer is there a pipe is at its end, too.
                while begin.elapsed() < WATCHDOG {
                    match reader.read(&mut buffer) {
                        Ok(0) if all.is_empty() && begin.elapsed() < Duration::from_secs(1) => {}
                        Ok(0) => return all,
                        Ok(count) => all.extend_from_slice(&buffer[..count]),
                        Err(_) => {}
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                panic!("its writer does not end");
            }
        });
        let ended = ends(place.vmm(line).spawn().unwrap(), line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        let read = reader.join().unwrap();
        // Of a guest that says nothing there is nothing to be read.
        assert_eq!(read.is_empty(), line.contains("--console"), "{line}");
    }
    for line in [
        "boot --image ipmmu --json pipe",
        "inject none --json pipe",
        "inject none --junit pipe",
        "lab run rebind --json pipe",
        "lab run rebind --junit pipe",
    ] {
        place.refuses(line, words);
    }
    for line in [
        "demo --report pipe",
        "lab run rebind --report pipe",
        "inject none --report pipe",
    ] {
        place.refuses(line, "the report directory");
    }
    place.shell("mkfifo pipe.html");
    for line in [
        "boot --kernel off --kernel-format image --timeline pipe.html",
        "snapshot restore snapshot --timeline pipe.html",
        "inject none --run 1 --timeline pipe.html",
    ] {
        place.refuses(line, words);
    }
}

#[test]
fn readers_that_do_not_read_hold_up_no_end() {
    let place = TestDirectory::new();
    // It takes nothing, and has a reader.
    let mut options = File::options();
    let mut full = options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(place.at("pipe"))
        .unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    for line in WRITE {
        // Nothing waits for a guest that says nothing.
        if line.starts_with("snapshot") && line.contains("--console") {
            continue;
        }
        let line = line.replace("off", "talk");
        for limit in [" --wall-timeout 1", ""] {
            let line = format!("{line}{limit}");
            let child = place.vmm(&line).spawn().unwrap();
            if limit.is_empty() {
                thread::sleep(Duration::from_millis(500));
                kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            }
            let ended = ends(child, &line);
            // A recording begins before the machine, which is what takes signals, is there.
            if limit.is_empty() && line.contains("--record") && ended.code.is_none() {
                continue;
            }
            assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
            assert!(
                ended.stderr.contains("nobody reads it"),
                "{line}: {ended:?}"
            );
        }
    }
}
