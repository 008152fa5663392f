//! What a process that runs a guest may still do, tried by a "device" that a guest has taken over
//! (`vmm sandbox-check`), on a thread that was there before and on a new one.

#![expect(
    unsafe_code,
    reason = "the test makes the system call that is to be refused"
)]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

use seccompiler::{SeccompAction, SeccompFilter};
use tempfile::TempDir;

use crate::{Ended, run, vmm};

/// A directory with the machine's disk in it, and another file.
fn place() -> (TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (disk, other) = (path("disk"), path("other"));
    fs::write(&disk, "disk").unwrap();
    fs::write(&other, "other").unwrap();
    (directory, disk, other)
}

fn attempt(what: &str, disk: &str, more: &[&str]) -> Ended {
    run(&[&["sandbox-check", what, "--disk", disk], more].concat())
}

/// Both threads were told no by the kernel.
fn assert_refused(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 2, "{ended:?}");
    for line in ended.stdout.lines() {
        assert!(line.starts_with("refused: Permission denied"), "{ended:?}");
    }
}

/// The process was ended at the first attempt, with a sentence.
fn assert_ended(ended: &Ended, call: libc::c_long) {
    assert_eq!(ended.code, Some(159), "{ended:?}");
    let sentence = format!("the sandbox ended this process: system call {call} is not allowed");
    ended.assert_stderr(&sentence);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
}

#[test]
fn files_are_the_machines_own_and_no_others() {
    let (_directory, disk, other) = place();
    let done = "done\ndone\n";
    assert_eq!(attempt("read", &disk, &[]).stdout, done);
    assert_refused(&attempt("write", &disk, &[]));
    assert_eq!(attempt("write", &disk, &["--write"]).stdout, done);
    for file in [other.as_str(), "/etc/passwd"] {
        assert_refused(&attempt("read", &disk, &["--file", file]));
        assert_refused(&attempt("write", &disk, &["--write", "--file", file]));
    }
    let new = format!("{other}-new");
    assert_refused(&attempt("create", &disk, &["--write", "--file", &new]));
    assert!(!Path::new(&new).exists());
}

#[test]
fn a_link_to_another_file_is_no_way_out() {
    let (directory, disk, _) = place();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let link = link.display().to_string();
    assert_refused(&attempt("read", &disk, &["--file", &link]));
}

#[test]
fn no_network_no_programs_no_processes_no_signals_no_code() {
    let (_directory, disk, _) = place();
    assert_ended(&attempt("listen", &disk, &[]), libc::SYS_socket);
    assert_ended(&attempt("connect", &disk, &[]), libc::SYS_socket);
    // Nor does a port for a debugger, who comes by it (see `gdb`), let anything else in or out.
    assert_eq!(
        attempt("nothing", &disk, &["--listen"]).stdout,
        "done\ndone\n"
    );
    assert_ended(&attempt("listen", &disk, &["--listen"]), libc::SYS_socket);
    assert_ended(&attempt("connect", &disk, &["--listen"]), libc::SYS_socket);
    assert_ended(&attempt("fork", &disk, &[]), libc::SYS_clone);
    assert_ended(&attempt("signal", &disk, &[]), libc::SYS_kill);
    assert_ended(&attempt("code", &disk, &[]), libc::SYS_mmap);
    // The C library blocks all signals while it starts a program, SIGSYS among them: then the
    // signal itself ends the process, which a shell shows as the same code.
    let exec = attempt("exec", &disk, &[]);
    assert!(matches!(exec.code, None | Some(159)), "{exec:?}");
    assert_eq!(exec.stdout, "", "{exec:?}");
    assert_eq!(attempt("nothing", &disk, &[]).stdout, "done\ndone\n");
}

#[test]
fn without_the_sandbox_all_of_that_goes_and_it_is_said() {
    let (_directory, disk, other) = place();
    for what in ["read", "listen", "exec", "fork", "signal", "code"] {
        let ended = attempt(what, &disk, &["--file", &other, "--sandbox", "off"]);
        assert_eq!(ended.stdout, "done\ndone\n", "{what}: {ended:?}");
        ended.assert_stderr("the sandbox is off");
    }
}

/// A command on a kernel that answers these system calls as one does that lacks them.
fn on_a_kernel_without(calls: &[libc::c_long], arguments: &[&str]) -> Ended {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    let mut command = vmm(arguments);
    command.env("VMM_LOG", "info");
    // SAFETY: after the fork, the closure makes two system calls.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&program).map_err(|_| io::Error::last_os_error())
        });
    }
    command.output().unwrap().into()
}

#[test]
fn a_kernel_that_lacks_it_runs_guests_all_the_same_and_that_can_be_seen() {
    let (_directory, disk, other) = place();
    let arguments = ["sandbox-check", "read", "--disk", &disk, "--file", &other];
    let landlock = libc::SYS_landlock_create_ruleset;
    let ended = on_a_kernel_without(&[landlock], &arguments);
    assert_eq!(ended.stdout, "done\ndone\n", "{ended:?}");
    ended.assert_stderr("this kernel has no Landlock");
    ended.assert_stderr("system calls are restricted");

    let ended = on_a_kernel_without(&[libc::SYS_seccomp], &arguments);
    assert_refused(&ended);
    ended.assert_stderr("there is no seccomp here");

    let arguments = ["sandbox-check", "exec", "--disk", &disk];
    let ended = on_a_kernel_without(&[landlock, libc::SYS_seccomp], &arguments);
    assert_eq!(ended.stdout, "done\ndone\n", "{ended:?}");
}

#[test]
fn every_command_that_runs_guests_has_the_flag() {
    for command in [
        &["boot"][..],
        &["snapshot", "save"],
        &["snapshot", "restore"],
        &["inject"],
        &["lab", "run"],
        &["lab", "matrix"],
        &["demo"],
    ] {
        let help = run(&[command, &["--help"]].concat()).stdout;
        assert!(help.contains("--sandbox"), "{command:?}:\n{help}");
        let ended = run(&[command, &["--sandbox", "perhaps"]].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}
