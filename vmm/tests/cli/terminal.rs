//! The program on a terminal, made with script(1), which every Debian system has.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A shell script on a terminal of its own.
pub struct OnTerminal {
    child: Child,
    seen: std::sync::mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl OnTerminal {
    fn start(shell: &str) -> Self {
        Self::start_with(shell, |command| command)
    }

    /// Starts a shell script whose environment `prepare` changes.
    pub fn start_with(shell: &str, prepare: impl FnOnce(Command) -> Command) -> Self {
        let mut command = prepare(Command::new("script"));
        command
            .args(["-q", "-e", "-c", shell, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("VMM", env!("CARGO_BIN_EXE_vmm"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script should start");
        let seen = crate::watch(child.stdout.take().unwrap());
        Self {
            child,
            seen,
            text: String::new(),
        }
    }

    pub fn type_in(&mut self, keys: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys).and_then(|()| stdin.flush()).unwrap();
    }

    pub fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(900);
        while !self.text.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(bytes) => self.text += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("the terminal did not show {words:?}:\n{}", self.text),
            }
        }
    }

    /// Leaves the guest; what was shown.
    fn leave(mut self) -> String {
        self.type_in(b"\x01x");
        let (code, text) = self.end();
        assert_eq!(code, Some(0), "{text}");
        text
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.child.stdin.as_mut().map(Write::flush);
        let code = self.child.wait().unwrap().code();
        while let Ok(bytes) = self.seen.recv() {
            self.text += &String::from_utf8_lossy(&bytes);
        }
        (code, self.text)
    }
}

/// Runs `vmm` on a terminal and shows whether that has its settings back.
fn session(arguments: &str) -> OnTerminal {
    session_in("host", arguments)
}

/// As [`session`], by this clock of the guest.
fn session_in(time: &str, arguments: &str) -> OnTerminal {
    // The time limits below are for a guest, not for building its kernel.
    let image = crate::run(&["images", "fetch", "ipmmu"]);
    assert_eq!(image.code, Some(0), "{image:?}");
    OnTerminal::start(&format!(
        "before=$(stty -g); run() {{ sh -c 'echo pid=$$; exec \"$VMM\" \"$@\"' vmm \"$@\"; }}; \
         run boot --image ipmmu --time {time} --wall-timeout 900 {arguments}; code=$?; \
         if [ \"$before\" = \"$(stty -g)\" ]; then echo settings are back; else echo settings differ; fi; exit $code"
    ))
}

#[test]
fn keys_reach_the_guest_and_ctrl_a_x_ends_it() {
    let mut terminal = session("--shell");
    terminal.wait_for("guest: ready");
    terminal.wait_for("# ");
    terminal.type_in(b"sleep 500; echo not interrupt''ed\r");
    terminal.wait_for("interrupt''ed");
    // Ctrl-C is the guest's: it ends the sleep, not the program.
    std::thread::sleep(Duration::from_secs(1));
    terminal.type_in(b"\x03");
    terminal.type_in(b"echo still $((1 + 1)) here\r");
    terminal.wait_for("still 2 here");
    terminal.type_in(b"\x01h");
    terminal.wait_for("Ctrl-A x");
    let text = terminal.leave();
    assert!(text.contains("settings are back"), "{text}");
}

#[test]
fn a_prompt_shows_in_virtual_time_before_anything_is_typed() {
    let mut terminal = session_in("virtual", "--shell");
    terminal.wait_for("guest: ready");
    terminal.wait_for("/ # ");
    terminal.leave();
}

#[test]
fn a_prompt_on_a_terminal_waits_in_virtual_time() {
    let mut terminal = session_in("virtual", "--shell");
    terminal.wait_for("/ # ");
    // A log-in's time limit: at once over if the wait for keys were skipped.
    terminal.type_in(b"read -t 60 word; echo read=$word.\r");
    terminal.wait_for("word; ");
    std::thread::sleep(Duration::from_secs(3));
    terminal.type_in(b"here\r");
    terminal.wait_for("read=here.");
    terminal.leave();
}

#[test]
fn a_shell_can_power_off_and_reboot() {
    let ends: [(&[u8], i32); 5] = [
        (b"poweroff\r", 0),
        (b"sh -c 'poweroff; sleep 100000'\r", 0),
        (b"halt\r", 0),
        (b"reboot\r", 1),
        (b"sleep 100000 & exit\r", 0),
    ];
    for (typed, wanted) in ends {
        let mut terminal = session("--shell");
        terminal.wait_for("/ # ");
        terminal.type_in(typed);
        terminal.wait_for("settings ");
        let (code, text) = terminal.end();
        assert_eq!(code, Some(wanted), "{text}");
    }
}

#[test]
fn settings_are_back_when_the_guest_powers_off() {
    let mut terminal = session("--run 'echo here'");
    terminal.wait_for("settings ");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("settings are back"), "{text}");
}

#[test]
fn settings_are_back_after_a_signal() {
    let mut terminal = session("--run 'sleep 500'");
    terminal.wait_for("guest: ready");
    let pid = terminal
        .text
        .lines()
        .find_map(|line| line.trim().strip_prefix("pid="))
        .unwrap()
        .to_owned();
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .status()
            .unwrap()
            .success()
    );
    let (code, text) = terminal.end();
    assert_eq!(code, Some(143), "{text}");
    assert!(text.contains("settings are back"), "{text}");
}

#[test]
fn a_shell_ends_with_its_terminal() {
    ends_with_its_terminal("host");
    ends_with_its_terminal("virtual");
}

fn ends_with_its_terminal(time: &str) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("out.json");
    let mut terminal = session_in(time, &format!("--shell --json {}", json.display()));
    terminal.wait_for("# ");
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !json.exists() {
        assert!(Instant::now() < deadline, "the run goes on without");
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = std::fs::read_to_string(&json).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["exit_code"], 129, "{report}");
}
