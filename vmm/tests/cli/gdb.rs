//! `--gdb`: the program waits for a debugger, and obeys it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use crate::{run, vmm};

/// A kernel that powers off: mov r0, #0x84000000; orr r0, r0, #8; hvc #0.
const OFF: [u32; 3] = [0xe3a0_0484, 0xe380_0008, 0xe140_0070];

fn kernel() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for word in OFF {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    file
}

/// A program that waits for a debugger.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: String,
    _kernel: tempfile::NamedTempFile,
}

impl Waiting {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let kernel = kernel();
        let child = vmm(&["boot", "--kernel"])
            .arg(kernel.path())
            .args(["--kernel-format=image", "--gdb=0", "--wall-timeout=120"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::told(child, kernel)
    }

    /// Waits until `child` says where it listens.
    fn told(mut child: Child, kernel: tempfile::NamedTempFile) -> Self {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line
            .split("target remote ")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Self {
            child,
            stderr,
            address,
            _kernel: kernel,
        }
    }

    /// Has the guest run to its end, which takes three instructions; what else the program said.
    fn debug(self) -> String {
        // A breakpoint at the call to firmware, until which it runs; then to the end.
        self.talk(&[
            ("Z0,40008008,4", "$OK#9a"),
            ("vCont;c", "$T05"),
            ("vCont;c", "$W00#b7"),
        ])
    }

    /// Sends packets, each of which has some answer, and has the guest run to its end with the
    /// last; what else the program said.
    fn talk(mut self, packets: &[(&str, &str)]) -> String {
        let mut gdb = TcpStream::connect(&self.address).unwrap();
        gdb.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for (packet, until) in packets {
            let sum = packet.bytes().fold(0u8, u8::wrapping_add);
            write!(gdb, "${packet}#{sum:02x}").unwrap();
            let mut seen = String::new();
            while !seen.contains(*until) {
                let mut byte = [0];
                gdb.read_exact(&mut byte)
                    .unwrap_or_else(|e| panic!("{packet}: {seen}: {e}"));
                seen.push(byte[0].into());
            }
            gdb.write_all(b"+").unwrap();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        assert!(
            rest.contains("the guest powered off after 3 instructions"),
            "{rest}"
        );
        rest
    }
}

#[test]
fn the_program_says_where_it_waits_and_runs_when_told() {
    let rest = Waiting::new().debug();
    assert_eq!(rest.lines().count(), 1, "{rest}");
}

#[test]
fn who_is_no_debugger_does_not_let_the_guest_go() {
    let mut waiting = Waiting::new();
    // Port checks, and those who take it for another port: each has gone before the next is looked
    // at.
    for noise in [
        &b""[..],
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"$?#00",
        b"\x03",
        b"+",
    ] {
        let mut visitor = TcpStream::connect(&waiting.address).unwrap();
        visitor.write_all(noise).unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        // The program closes the connection once it knows.
        let _ = visitor.read_to_end(&mut Vec::new());
    }
    assert_eq!(waiting.child.try_wait().unwrap(), None);
    let rest = waiting.debug();
    let said = rest.matches("no packet of gdb's protocol").count();
    assert_eq!(said, 1, "{rest}");
}

#[test]
fn a_debugger_begins_at_a_place_and_goes_back() {
    let waiting = Waiting::with(&["--reverse=16M", "--goto", "instruction:2"]);
    let rest = waiting.talk(&[
        // The third instruction is next: PC, the sum of the packet left out.
        ("pf", "$08800040#"),
        ("bs", "$T05"),
        ("pf", "$04800040#"),
        ("bc", "replaylog:begin;"),
        ("pf", "$00800040#"),
        ("vCont;c", "replaylog:end;"),
        ("vCont;c", "$W00#b7"),
    ]);
    assert_eq!(rest.lines().count(), 1, "{rest}");
}

#[test]
fn what_cannot_be_gone_back_in_is_refused_in_a_sentence() {
    let (kernel, disk) = (kernel(), tempfile::NamedTempFile::new().unwrap());
    disk.as_file().set_len(512).unwrap();
    let disk = disk.path().to_str().unwrap();
    let path = kernel.path().to_str().unwrap();
    let common = ["boot", "--kernel", path, "--kernel-format=image"];
    for (arguments, words) in [
        (&["--reverse"][..], "say where it connects with --gdb PORT"),
        (
            &["--goto=instruction:1"],
            "say where it connects with --gdb PORT",
        ),
        (&["--gdb=0", "--goto=5"], "is no place to go to"),
        (&["--gdb=0", "--goto=iommu:detach"], "add one with --iommu"),
        (
            &["--gdb=0", "--goto=console:x", "--expect=y"],
            "leave one of them out",
        ),
        (
            &["--gdb=0", "--reverse", "--time=host"],
            "record it with --record",
        ),
        (
            &["--gdb=0", "--reverse", "--disk", disk],
            "add ,overlay or ,ro",
        ),
        (
            &["--gdb=0", "--reverse", "--probe", "panic { stop }"],
            "leave --probe",
        ),
        (
            &["--gdb=0", "--reverse", "--iommu=ipmmu", "--sanitize=dma"],
            "and --sanitize out",
        ),
    ] {
        let ended = run(&[&common[..], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        ended.assert_stderr(words);
    }
}

#[test]
fn a_replay_can_be_gone_back_in() {
    let (kernel, directory) = (kernel(), tempfile::tempdir().unwrap());
    let recording = directory.path().join("run.rec");
    let mut recorded = vmm(&["boot", "--time=host", "--kernel-format=image", "--kernel"])
        .arg(kernel.path())
        .arg("--record")
        .arg(&recording)
        .spawn()
        .unwrap();
    assert_eq!(recorded.wait().unwrap().code(), Some(0));
    let replay = vmm(&["boot", "--gdb=0", "--wall-timeout=120", "--replay"])
        .arg(&recording)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rest = Waiting::told(replay, kernel).talk(&[
        ("vCont;s:1", "$T05"),
        ("pf", "$04800040#"),
        ("bs", "$T05"),
        ("pf", "$00800040#"),
        ("vCont;c", "replaylog:end;"),
        ("vCont;c", "$W00#b7"),
    ]);
    assert_eq!(rest.lines().count(), 1, "{rest}");
}

#[test]
fn a_port_that_is_taken_is_a_mistake_of_the_user() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let kernel = kernel();
    let path = kernel.path().to_str().unwrap();
    let ended = run(&[
        "boot",
        "--kernel",
        path,
        "--kernel-format=image",
        "--gdb",
        &port,
    ]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("cannot wait for a debugger at 127.0.0.1:");
    let ended = run(&["boot", "--kernel", path, "--gdb", "somewhere"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
