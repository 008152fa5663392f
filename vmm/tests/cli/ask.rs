//! `--ask`: questions about a guest, on the command line and through a pipe.

use std::io::Write;
use std::process::Stdio;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::{TestDirectory, assert_mistake, run, vmm, watch};

/// Powers off: mov r0, #0x84000000; orr r0, r0, #8; hvc #0.
const OFF: [u32; 3] = [0xe3a0_0484, 0xe380_0008, 0xe140_0070];

#[test]
fn questions_are_answered_in_their_order_wherever_they_go() {
    let place = TestDirectory::with_kernel(&OFF);
    let kernel = place.path("kernel");
    let boot = ["boot", "--kernel-format=image", "--kernel", &kernel];
    let asks = |questions: &str, more: &[&str]| {
        let ended = run(&[&boot[..], &["--ask", questions], more].concat());
        (ended.code, ended.stdout, ended.stderr)
    };
    let (code, said, told) = asks(
        "where; back 2; registers 0; step; registers; goto instruction:0; where; log; help",
        &[],
    );
    assert_eq!(code, Some(0), "{told}");
    // At the end, after one of three, after two, and at the beginning.
    let mut rest = said.as_str();
    for words in [
        "after instruction 3\n",
        "after instruction 1\n",
        "r0  0x84000000",
        "pc  0x40008004",
        "after instruction 2\n",
        "r0  0x84000008",
        "after instruction 0\n",
        "at 0.000000000 s, after instruction 0\n",
        "who-mapped [DEVICE] IOVA",
    ] {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("no {words:?} where it should be in\n{said}");
        };
        rest = after;
    }
    assert_eq!(told, "vmm: the guest powered off\n");
    // What has no answer is told, and the others are answered.
    let (code, said, told) = asks(
        "backtrace; registers 5; goto instruction:9; mappings; utlbs; where",
        &["--goto=instruction:1"],
    );
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "no kernel with symbols is in memory",
        "there is no core 5: the machine has 1",
        "the guest does not come to instruction:9: it powered off",
        "no device is translated now",
    ] {
        assert!(told.contains(words), "{told} lacks {words:?}");
    }
    assert!(said.contains("no device stands behind an IOMMU"), "{said}");
    let (code, said, told) = asks("where", &["--goto=console:never"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(told.contains("does not come to console:never"), "{told}");
    assert!(said.contains("after instruction 3"), "{said}");
    for (arguments, words) in [
        (&["--ask=what"][..], "is no question"),
        (&["--ask=where", "--gdb=0"], "cannot be used with"),
        (&["--ask=where", "--json=run.json"], "leave them out"),
        (&["--ask=where", "--expect=x"], "leave them out"),
        (&["--ask=where", "--time=host"], "record it with --record"),
        (&["--ask=where", "--probe=panic { stop }"], "leave --probe"),
        (&["--ask=where", "--tier=both"], "leave --ask out"),
    ] {
        assert_mistake(&[&boot[..], arguments].concat(), words);
    }
}

#[test]
fn a_pipe_may_have_questions_that_are_not_understood() {
    let place = TestDirectory::with_kernel(&OFF);
    let kernel = place.path("kernel");
    let mut child = vmm(&[
        "boot",
        "--kernel-format=image",
        "--ask",
        "--kernel",
        &kernel,
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"what\n\nwhere; nothing\nback 3; where\nquit\nhelp\n")
        .unwrap();
    drop(pipe);
    let ended = crate::Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("\"what\" is no question");
    ended.assert_stderr("\"nothing\" is no question");
    // Of a line with a mistake nothing is answered, and nothing after `quit`.
    assert_eq!(ended.stdout.matches("after instruction").count(), 2);
    ended.assert_stdout("after instruction 0\n");
    assert!(!ended.stdout.contains("who-mapped"), "{ended:?}");
}

/// Returns what comes until it ends with `end`.
fn until(seen: &Receiver<Vec<u8>>, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let bytes = seen.recv_timeout(Duration::from_secs(300));
        let bytes = bytes.unwrap_or_else(|_| panic!("no {end:?} at the end of\n{text}"));
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text
}

/// All questions about one boot, in which a disk behind an IPMMU was found.
#[test]
fn all_questions_are_answered_about_a_guest() {
    let place = TestDirectory::with_kernel(&[]);
    std::fs::write(place.path("disk"), vec![7; 1 << 20]).unwrap();
    let disk = format!("{},ro", place.path("disk"));
    let boot = [
        "boot",
        "--image=ipmmu",
        "--iommu=ipmmu",
        "--cpus=2",
        "--console=none",
        "--wall-timeout=900",
        "--goto=console:Run /init",
        "--ask",
        "--disk",
        &disk,
    ];
    let mut child = vmm(&boot)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = watch(child.stdout.take().unwrap());
    let mut pipe = child.stdin.take().unwrap();
    let mut ask = |questions: &str, end: &str| {
        pipe.write_all(format!("{questions}; help\n").as_bytes())
            .unwrap();
        let said = until(&seen, "help, quit                this; no more questions\n");
        assert!(said.contains(end), "{questions}: {end:?} is not in\n{said}");
        said
    };
    let stack = ask("backtrace", "run_init_process");
    assert!(stack.contains("kernel_init+0x"), "{stack}");
    assert!(stack.contains("core 1: "), "{stack}");
    ask("registers", "ttbr0 ");
    ask("utlbs", "ipmmu0 uTLB 0 (disk0): context 0");
    ask("devices", "behind ipmmu0, uTLB 0");
    ask("log 3", "] Run /init\n");
    let mapped = ask("mappings disk0", "ipmmu0 context 0 (disk0):");
    let range = mapped.lines().find(|line| line.contains(" -> ")).unwrap();
    let iova = range.trim_start().split("..").next().unwrap();
    let here = ask("where", " s, after instruction ");
    let line = here.lines().next().unwrap();
    let who = ask(
        &format!("who-mapped disk0 {iova}"),
        &format!("{iova} of disk0"),
    );
    // Found in the history, by the function that writes descriptors, called by the device's driver.
    for words in ["mapped at 0.", "arm_lpae_", "iommu_map", "virtblk_probe"] {
        assert!(who.contains(words), "{words:?} is not in\n{who}");
    }
    ask("where", line);
    // There is none any more; it goes back to the first.
    ask("goto iommu:attach; log 1", "reboot: Power down");
    ask(
        "goto instruction:1000000; goto iommu:attach; where",
        " attach utlb=0 device=disk0 context=0",
    );
    ask("goto console:Run /init; where", line);
    ask("step 1000; back 1000; where", line);
    pipe.write_all(b"quit\n").unwrap();
    assert_eq!(
        child.wait().unwrap().code(),
        Some(1),
        "one attach was never"
    );
}
