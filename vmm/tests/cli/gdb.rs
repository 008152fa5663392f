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
        let kernel = kernel();
        let mut child = vmm(&["boot", "--kernel"])
            .arg(kernel.path())
            .args(["--kernel-format=image", "--gdb=0", "--wall-timeout=120"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
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
    fn debug(mut self) -> String {
        let mut gdb = TcpStream::connect(&self.address).unwrap();
        gdb.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A breakpoint at the call to firmware, until which it runs; then to the end.
        let mut talk = |packet: &str, until: &str| {
            let sum = packet.bytes().fold(0u8, u8::wrapping_add);
            write!(gdb, "${packet}#{sum:02x}").unwrap();
            let mut seen = String::new();
            while !seen.contains(until) {
                let mut byte = [0];
                gdb.read_exact(&mut byte)
                    .unwrap_or_else(|e| panic!("{packet}: {seen}: {e}"));
                seen.push(byte[0].into());
            }
            gdb.write_all(b"+").unwrap();
        };
        talk("Z0,40008008,4", "$OK#9a");
        talk("vCont;c", "$T05");
        talk("vCont;c", "$W00#b7");
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
