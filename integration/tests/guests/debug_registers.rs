//! The processor's own breakpoints, watchpoints and counters, as debuggers and profilers inside a
//! guest use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration::{Guest, disk, module, packages};

/// Debian's gdb for armhf, and the libraries that it needs.
const GDB: [&str; 38] = [
    "gdb-minimal",
    "libbrotli1",
    "libc6",
    "libcom-err2",
    "libcurl3-gnutls",
    "libdebuginfod1",
    "libelf1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgmp10",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblzma5",
    "libnettle8",
    "libnghttp2-14",
    "libp11-kit0",
    "libpsl5",
    "libreadline8",
    "librtmp1",
    "libsasl2-2",
    "libssh2-1",
    "libssl3",
    "libstdc++6",
    "libtasn1-6",
    "libtinfo6",
    "libunistring2",
    "libxxhash0",
    "libzstd1",
    "readline-common",
    "zlib1g",
];

/// What the person at that gdb types.
const SESSION: &str = "set confirm off
set pagination off
set width 0
set startup-with-shell off
break _start
run
hbreak called
watch watched[1]
info breakpoints
continue
continue
continue
continue
continue
continue
continue
";

/// Returns the text of a program or module.
pub(crate) fn source(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/programs");
    programs.join(name).with_extension("c")
}

/// Makes the program of `programs/NAME.c` in `directory`.
fn compile(name: &str, directory: &Path) -> PathBuf {
    let path = directory.join(name);
    // The compiler that builds the guests' kernels.
    let made = Command::new("arm-linux-gnueabihf-gcc")
        .args(["-nostdlib", "-static", "-ffreestanding", "-g"])
        .args(["-marm", "-march=armv7-a+fp", "-O1", "-Wall", "-Werror"])
        .arg("-o")
        .arg(&path)
        .arg(source(name))
        .status()
        .expect("arm-linux-gnueabihf-gcc (package gcc-arm-linux-gnueabihf)");
    assert!(made.success());
    path
}

/// Returns the program of `programs/debug.c`, as a disk that holds it and nothing else.
fn program() -> integration::Disk {
    let directory = tempfile::tempdir().expect("a directory");
    disk_of(&compile("debug", directory.path()))
}

/// Returns a file as a disk.
pub(crate) fn disk_of(path: &Path) -> integration::Disk {
    let mut bytes = fs::read(path).expect("a file");
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    disk::of(&bytes)
}

/// Linux's perf and ptrace, on a stock kernel: counted and signalled where they should be, nowhere
/// else, and the program goes on.
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

/// A real gdb in a stock kernel's guest. It says "Hardware" of what it set in registers, not in the
/// program.
#[test]
fn a_gdb_inside_a_guest_stops_at_hardware_breakpoints_and_watchpoints() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = compile("watched", directory.path());
    let session = directory.path().join("session");
    fs::write(&session, SESSION).expect("a file");
    let files = [("watched", program.as_path()), ("session", &session)];
    let disk = disk::ext4_of(&packages(&GDB), 128, &files);
    let run = Guest::image("debian-armmp-6.1")
        .read_only_disk(&disk)
        .run("mount -o ro /dev/vda /mnt && mount -t proc proc /mnt/proc")
        .run("chroot /mnt /usr/bin/gdb -nx -batch -x /session /watched 2>&1")
        .boot();
    run.assert_good();
    let shown = run.output(2);
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let kinds = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    // One line as each is set, and one each time that it is hit.
    assert_eq!(kinds("Hardware watchpoint 3: watched[1]"), 1 + 3, "{shown}");
    assert_eq!(kinds("Breakpoint 2, called"), 3, "{shown}");
    for n in 1..=3 {
        let values = [format!("Old value = {}", n - 1), format!("New value = {n}")];
        let pair = |pair: &[&str]| pair == values;
        assert_eq!(
            lines.windows(2).filter(|two| pair(two)).count(),
            1,
            "{shown}"
        );
    }
}

/// Returns what `programs/kernel_breaks.c` says of a core: there its accesses are done `rounds`
/// times, the handlers see so many events of each kind, and those of the second kind are at so many
/// bytes, in sum, after the start of the word.
fn line(when: &str, core: u32, rounds: u32, events: [u32; 3], offset: u32) -> String {
    let (mut words, mut sum) = ([0; 4], 0);
    for round in 1..=rounds {
        words = [round, round, round | round << 24, round];
        // Two loads, the second before the byte is stored, and the call.
        sum += 2 * round + 1;
    }
    let [written, accessed, called] = events;
    let [a, b, c, d] = words;
    format!(
        "{when}, core {core}: written {written} at +0 accessed {accessed} at +{offset} called {called} at +0 \
         sum {sum} words {a:x} {b:x} {c:x} {d:x}"
    )
}

/// Runs a module with handlers of its own that sets breakpoints and watchpoints inside a stock
/// kernel.
fn kernel_breakpoints(image: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let module = module(image, &source("kernel_breaks"), directory.path());
    let run = Guest::image(image)
        .cpus(2)
        .read_only_disk(&disk_of(&module))
        .run("dd if=/dev/vda of=/m.ko bs=512 2>/dev/null && insmod /m.ko && rmmod kernel_breaks")
        .run("dmesg | sed -n 's/.*kernel_breaks: \\(.*, core \\)/\\1/p'")
        .boot();
    run.assert_good();
    let cores = |when: &'static str, rounds: u32, seen: fn(u32) -> ([u32; 3], u32)| {
        (0..2).map(move |core| {
            let (events, offset) = seen(rounds + core);
            line(when, core, rounds + core, events, offset)
        })
    };
    let none = |_| ([0; 3], 0);
    // Each store, load and call once; of the three accesses in a round, the byte's is three bytes
    // on.
    let every = |rounds| ([rounds, 3 * rounds, rounds], 3 * rounds);
    let first = |_| ([1; 3], 0);
    let expected: Vec<String> = cores("set", 3, every)
        .chain(cores("cleared", 3, none))
        .chain(cores("set", 4, every))
        .chain(cores("cleared", 4, none))
        .chain(cores("disabled", 5, none))
        .chain(cores("once", 5, first))
        .chain(cores("once", 5, first))
        .collect();
    assert_eq!(run.output(2), expected.join("\n"));
}

#[test]
fn breakpoints_inside_a_stock_kernel_meet_every_access_on_every_core() {
    kernel_breakpoints("debian-armmp-6.1");
}

/// The same where fault status registers have the long descriptors' format.
#[test]
fn breakpoints_inside_a_stock_lpae_kernel_meet_every_access_on_every_core() {
    kernel_breakpoints("debian-armmp-lpae-6.1");
}
