//! A real gdb on the host, with the symbols of the guest's kernel, that goes back.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use integration::{Guest, obtain};
use vmm::devices::uart::Capture;
use vmm::gdb::Server;
use vmm::machine::HISTORY_LIMIT;
use vmm::{Limits, Machine, Reason};

/// Runs a guest with a history under a gdb that is given these commands; what gdb said, and what
/// was shown.
fn debugged(cpus: u8, commands: &str) -> (String, String) {
    let vmlinux = obtain("ipmmu").vmlinux.expect("the image has its vmlinux");
    let guest = Guest::image("ipmmu").cpus(cpus).run("cat /proc/version");
    let console = Capture::default();
    let machine = Machine::builder(guest.config(), Box::new(console.clone()));
    let mut machine = machine.build().unwrap();
    machine.keep_history(HISTORY_LIMIT).unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = server.address().unwrap();
    server.attach(&mut machine).unwrap();
    let mut script = tempfile::NamedTempFile::new().unwrap();
    write!(
        script,
        "set pagination off\nset confirm off\ntarget remote {address}\n{commands}\nkill\n"
    )
    .unwrap();
    let debugger = thread::spawn(move || {
        let gdb = Command::new("gdb-multiarch")
            .args(["-nx", "-batch", "-x"])
            .arg(script.path())
            .arg(vmlinux)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .expect("gdb-multiarch (package gdb-multiarch)");
        String::from_utf8_lossy(&gdb.stdout).into_owned()
    });
    let reason = machine.run(Limits {
        wall: Some(std::time::Duration::from_secs(600)),
        ..Limits::default()
    });
    let said = debugger.join().unwrap();
    assert_eq!(reason.reason, Reason::Stopped, "{said}");
    let shown = String::from_utf8_lossy(&console.bytes()).into_owned();
    (said, shown)
}

/// Asserts that gdb has said all of these, in this order.
fn assert_said(said: &str, all: &[&str]) {
    let mut rest = said;
    for words in all {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("no {words:?} where it should be in\n{said}");
        };
        rest = after;
    }
}

#[test]
fn who_wrote_this_last_is_found_by_going_back() {
    // `system_state` is written by `kernel_init`, once all is set up; before that by nobody but
    // `start_kernel` (Linux init/main.c).
    let (said, shown) = debugged(
        1,
        "hbreak run_init_process
continue
printf \"state %d\\n\", system_state
delete
watch system_state
reverse-continue
printf \"state %d\\n\", system_state
backtrace 1
reverse-stepi
stepi
reverse-continue
printf \"state %d\\n\", system_state
reverse-continue
delete
hbreak run_init_process
continue
printf \"state %d\\n\", system_state",
    );
    assert_said(
        &said,
        &[
            "run_init_process",
            "state 3",
            "Hardware watchpoint 2: system_state",
            "Old value = SYSTEM_RUNNING",
            "New value = SYSTEM_FREEING_INITMEM",
            "kernel_init",
            "state",
        ],
    );
    assert_eq!(shown.matches("Linux version").count(), 1, "{shown}");
}

#[test]
fn steps_go_back_with_the_core_that_is_looked_at() {
    let (said, _) = debugged(
        4,
        "hbreak secondary_start_kernel
continue
printf \"pc %x\\n\", $pc
stepi 50
printf \"sp %x\\n\", $sp
reverse-stepi 50
printf \"pc %x\\n\", $pc
delete
reverse-continue",
    );
    let pcs: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("pc "))
        .collect();
    assert_eq!(pcs.len(), 2, "{said}");
    assert_eq!(pcs[0], pcs[1], "{said}");
    assert_said(&said, &["No more reverse-execution history"]);
}
