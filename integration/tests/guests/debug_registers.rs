//! The processor's own breakpoints, watchpoints and counters, as debuggers and profilers inside a guest use them.

use std::process::Command;

use integration::{Guest, disk};

/// The program of `programs/debug.c`, as a disk that holds it and nothing else.
fn program() -> integration::Disk {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("debug");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/programs/debug.c");
    // The compiler that builds the guests' kernels.
    let made = Command::new("arm-linux-gnueabihf-gcc")
        .args(["-nostdlib", "-static", "-ffreestanding"])
        .args(["-marm", "-march=armv7-a+fp", "-O1", "-Wall", "-Werror"])
        .arg("-o")
        .arg(&path)
        .arg(source)
        .status()
        .expect("arm-linux-gnueabihf-gcc (package gcc-arm-linux-gnueabihf)");
    assert!(made.success());
    let mut bytes = std::fs::read(path).expect("the program");
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    disk::of(&bytes)
}

/// Linux's perf and ptrace, on a stock kernel: counted and signalled where they should be, nowhere else, and the program goes
/// on.
#[test]
fn a_stock_kernel_s_debuggers_and_profilers_see_what_they_ask_for() {
    let run = Guest::image("debian-armmp-6.1")
        .read_only_disk(&program())
        .run("dd if=/dev/vda of=/debug bs=512 2>/dev/null; chmod +x /debug; /debug")
        .boot();
    run.assert_good();
    // Signal 5 is SIGTRAP, code 4 TRAP_HWBKPT; `known` tells the place from others.
    assert_eq!(
        run.output(1),
        "perf: written 5 read 5 calls 5 value 4\n\
         ptrace: breakpoints 5 watchpoints 4\n\
         store: signal 5 code 4 known 1\n\
         call: signal 5 code 4 known 2\n\
         call of T32: signal 5 code 4 known 3\n\
         child: exit 7\n\
         counters: user 1 kernel 1 apart 1\n\
         samples: enough 1"
    );
}
