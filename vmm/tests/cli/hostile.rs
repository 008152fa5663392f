//! Guests, readers and hosts that do what they should not: the program ends when it is told to, and
//! says what is wrong.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::{Ended, vmm};

/// What is done at once on a host that has nothing else to do is done within this on one that has.
const WATCHDOG: Duration = Duration::from_secs(20);

/// mov r1, #0x09000000 (the UART); mov r0, #'x'; strb r0, [r1]; b back
const TALK: [u32; 4] = [0xe3a0_1409, 0xe3a0_0078, 0xe5c1_0000, 0xeaff_fffd];
/// b to itself
const SPIN: [u32; 1] = [0xeaff_fffe];

fn kernel(program: &[u32]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    for word in program {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    file
}

fn boot(kernel: &NamedTempFile, arguments: &[&str]) -> Command {
    let mut command = vmm(&["boot", "--kernel-format=image", "--kernel"]);
    command.arg(kernel.path()).args(arguments);
    command
}

/// Waits for its end, which is not to take long.
fn ends(mut child: Child) -> (Option<i32>, String) {
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > WATCHDOG {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut stderr = String::new();
    if let Some(mut stream) = child.stderr.take() {
        stream.read_to_string(&mut stderr).unwrap();
    }
    (status.code(), stderr)
}

#[test]
fn a_console_that_nobody_reads_does_not_hold_up_the_end() {
    let kernel = kernel(&TALK);
    let limited = boot(&kernel, &["--wall-timeout=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, said) = ends(limited);
    assert_eq!(code, Some(124), "{said}");
    assert!(
        said.contains("nobody read the standard output"),
        "what is lost is said: {said}"
    );
    let stopped = boot(&kernel, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Until the pipe is full.
    thread::sleep(Duration::from_secs(1));
    kill_process(Pid::from_child(&stopped), Signal::INT).unwrap();
    let (code, said) = ends(stopped);
    assert_eq!(code, Some(130), "{said}");
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_hold_up_the_end() {
    // mov r1, #0xf0000000; ldr r0, [r1]: an abort, whose vector is one too: each is worth a line of
    // the log.
    let kernel = kernel(&[0xe3a0_120f, 0xe591_0000]);
    let child = boot(&kernel, &["--wall-timeout=1"])
        .env("VMM_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let stderr = child.stderr.take();
    assert_eq!(ends(child).0, Some(124));
    drop(stderr);
}

#[test]
fn a_pipe_of_input_waits_for_the_guest() {
    let kernel = kernel(&SPIN);
    let mut child = boot(&kernel, &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let writer = thread::spawn(move || {
        // 256 MiB, unless the program takes no more.
        for _ in 0..4096 {
            if stdin.write_all(&[b'x'; 1 << 16]).is_err() {
                return;
            }
            count.fetch_add(1 << 16, Ordering::Relaxed);
        }
    });
    thread::sleep(Duration::from_secs(3));
    let taken = sent.load(Ordering::Relaxed);
    assert!(taken > 0);
    assert!(
        taken < 4 << 20,
        "{taken} bytes were taken that no guest reads"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(ends(child).0, Some(143));
    writer.join().unwrap();
}

/// The program for another user, who has all the processes that he may have.
fn without_threads(command: &Command) -> Command {
    let mut limited = if rustix::process::geteuid().is_root() {
        // The limit is not for root.
        let mut setpriv = Command::new("setpriv");
        setpriv.args([
            "--reuid=65533",
            "--regid=65533",
            "--clear-groups",
            "prlimit",
        ]);
        setpriv
    } else {
        Command::new("prlimit")
    };
    limited
        .arg("--nproc=1:1")
        .arg(command.get_program())
        .args(command.get_args())
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    limited
}

#[test]
fn a_thread_that_cannot_start_is_no_bug() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let open = |path: &std::path::Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(dir.path(), 0o755);
    // Where anybody may run it.
    let program = dir.path().join("vmm");
    std::fs::copy(env!("CARGO_BIN_EXE_vmm"), &program).unwrap();
    open(&program, 0o755);
    let kernel = kernel(&SPIN);
    open(kernel.path(), 0o644);
    let path = kernel.path().to_str().unwrap();
    for more in [
        &["--wall-timeout=5"][..],
        &["--wall-timeout=5", "--gdb=0"],
        &["--wall-timeout=5", "--time=host"],
    ] {
        let mut command = Command::new(&program);
        command
            .args(["boot", "--kernel-format=image", "--kernel", path])
            .args(more);
        let ended = without_threads(&command).output();
        let ended = Ended::from(ended.expect("setpriv and prlimit should be there"));
        assert_eq!(ended.code, Some(2), "{more:?}: {ended:?}");
        assert!(
            ended.stderr.contains("cannot start a thread"),
            "{more:?}: {ended:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{more:?}: {ended:?}");
    }
}
