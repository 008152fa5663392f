//! What is left of files when the program is killed or the host has no room for them.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::snapshot::COUNT;
use crate::{Ended, vmm};

fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = COUNT.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(directory.path().join("kernel"), bytes).unwrap();
    directory
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

const BOOT: [&str; 4] = [
    "boot",
    "--kernel=kernel",
    "--kernel-format=image",
    "--time=host",
];

#[test]
fn a_kill_during_a_recorded_run_leaves_nothing() {
    let place = place();
    let outputs = ["--record=rec", "--json=json", "--timeline=line.json"];
    let mut child = vmm(&[&BOOT[..], &outputs].concat())
        .current_dir(&place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Enough shown that there is something to record.
    let mut shown = vec![0; 1 << 20];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut shown)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&place), ["kernel"]);
}

/// Runs `vmm` with files limited to one block, of 512 bytes or 1024 as the shell has it.
fn limited(place: &TempDir, arguments: &[&str]) -> Ended {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f 1; exec \"$@\"", "sh"])
        .arg(vmm(&[]).get_program())
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .current_dir(place);
    command.output().unwrap().into()
}

#[test]
fn a_limit_on_files_is_an_error_that_says_so() {
    let place = place();
    let end = "--timeout=0.001";
    for (name, arguments) in [
        ("out", &[end, "--console=out"][..]),
        ("rec", &["--console=none", "--record=rec", end]),
    ] {
        let ended = limited(&place, &[&BOOT[..3], arguments].concat());
        assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
        assert!(
            ended.stderr.contains("may not grow beyond the limit"),
            "{name}: {ended:?}"
        );
    }
    // What is printed to a file, too.
    let out = fs::File::create(place.path().join("stdout")).unwrap();
    let mut command = Command::new("sh");
    let ended: Ended = command
        .args(["-c", "ulimit -f 1; exec \"$@\"", "sh"])
        .arg(vmm(&[]).get_program())
        .args([&BOOT[..3], &[end]].concat())
        .stdin(Stdio::null())
        .current_dir(&place)
        .stdout(out)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
        .into();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("may not grow");
}

/// A machine's terminal, made with script(1): `$pid` runs the program until a signal ends it.
struct OnTerminal {
    child: std::process::Child,
    tty: String,
    pid: String,
    before: String,
}

/// Until `what` gives something.
fn wait<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn settings(tty: &str) -> String {
    let output = Command::new("stty")
        .args(["-g", "-F", tty])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

impl OnTerminal {
    /// Starts the program and waits until the guest has the terminal.
    fn start(place: &TempDir) -> Self {
        let script = "tty >tty; stty -g >before; sh -c 'echo $$ >pid; exec \"$@\"' sh \"$VMM\" boot \
            --kernel kernel --kernel-format image --time host --quiet; echo $? >code.new; mv code.new code; \
            read end";
        for name in ["tty", "before", "pid", "code"] {
            let _ = fs::remove_file(place.path().join(name));
        }
        let child = Command::new("script")
            .args(["-q", "-e", "-c", script, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("VMM", env!("CARGO_BIN_EXE_vmm"))
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("script should start");
        let file = |name: &str| {
            let path = place.path().join(name);
            wait(name, || {
                let text = fs::read_to_string(&path).ok()?;
                text.ends_with('\n').then(|| text.trim().to_owned())
            })
        };
        let (tty, before, pid) = (file("tty"), file("before") + "\n", file("pid"));
        wait("a raw terminal", || {
            (settings(&tty) != before).then_some(())
        });
        Self {
            child,
            tty,
            pid,
            before,
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid]).status();
        assert!(status.unwrap().success());
    }

    /// The program's exit code.
    fn code(&self, place: &TempDir) -> i32 {
        let path = place.path().join("code");
        let text = wait("an end", || fs::read_to_string(&path).ok());
        text.trim().parse().unwrap()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_terminal_has_its_settings_back_after_every_signal() {
    let place = place();
    let signals = [
        ("-INT", 130),
        ("-QUIT", 131),
        ("-TERM", 143),
        ("-ABRT", 134),
        ("-SEGV", 139),
        ("-BUS", 135),
        ("-ILL", 132),
        ("-FPE", 136),
        ("-USR1", 138),
        ("-ALRM", 142),
        ("-SYS", 159),
        ("-40", 168),
    ];
    for (name, code) in signals {
        let terminal = OnTerminal::start(&place);
        terminal.signal(name);
        assert_eq!(terminal.code(&place), code, "{name}");
        assert_eq!(settings(&terminal.tty), terminal.before, "{name}");
    }
}

#[test]
fn a_stopped_program_lends_its_terminal_and_takes_it_again() {
    let place = place();
    let terminal = OnTerminal::start(&place);
    let raw = settings(&terminal.tty);
    let becomes = |wanted: &str, when: &str| {
        wait(when, || (settings(&terminal.tty) == wanted).then_some(()));
    };
    for signal in ["-TSTP", "-TTIN"] {
        terminal.signal(signal);
        becomes(&terminal.before, "stopped");
        terminal.signal("-CONT");
        becomes(&raw, "gone on");
    }
    // A stop that cannot be handled, after which a shell sets the terminal as it likes.
    terminal.signal("-STOP");
    let stty = Command::new("stty")
        .args(["-F", &terminal.tty, terminal.before.trim()])
        .status();
    assert!(stty.unwrap().success());
    terminal.signal("-CONT");
    becomes(&raw, "gone on");
    // SIGHUP ends nothing: the terminal is the guest's until the end.
    terminal.signal("-HUP");
    terminal.signal("-TERM");
    assert_eq!(terminal.code(&place), 143);
    assert_eq!(settings(&terminal.tty), terminal.before);
}
