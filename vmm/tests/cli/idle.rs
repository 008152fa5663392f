//! Virtual time while a guest waits for someone to type, and the date at power-on.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::{run, vmm, watch};

/// After so long a test has hung.
const HANG: Duration = Duration::from_secs(600);

/// The program with a pipe to type into.
struct Piped {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Receiver<Vec<u8>>,
    text: String,
}

impl Piped {
    fn boot(arguments: &[&str]) -> Self {
        fetch();
        let mut command = vmm(&["boot", "--image", "ipmmu", "--wall-timeout", "900"]);
        command.args(arguments).stdin(Stdio::piped());
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.expect("the program should start");
        let seen = watch(child.stdout.take().unwrap());
        Self {
            stdin: child.stdin.take(),
            child,
            seen,
            text: String::new(),
        }
    }

    /// Types, and forgets what was shown before.
    fn type_in(&mut self, text: &str) {
        self.text.clear();
        let stdin = self.stdin.as_mut().unwrap();
        let typed = stdin.write_all(text.as_bytes());
        typed.and_then(|()| stdin.flush()).unwrap();
    }

    fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + HANG;
        while !self.text.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(bytes) => self.text += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("the console did not show {words:?}:\n{}", self.text),
            }
        }
    }

    /// The date that the guest shows.
    fn date(&mut self) -> u64 {
        self.type_in("echo it is $(date +%s).\r");
        self.wait_for("\nit is ");
        self.wait_for(".\r\n");
        let (_, rest) = self.text.split_once("\nit is ").unwrap();
        rest.split_once('.').unwrap().0.parse().unwrap()
    }

    /// The processor time that the program has had.
    fn processor(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|f| f.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        let code = self.child.wait().unwrap().code();
        while self.seen.recv().is_ok() {}
        code
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}

/// The time limits are for a guest, not for building its kernel.
fn fetch() {
    let image = run(&["images", "fetch", "ipmmu"]);
    assert_eq!(image.code, Some(0), "{image:?}");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_prompt_waits_as_long_as_its_reader_and_costs_little() {
    let mut guest = Piped::boot(&["--shell"]);
    guest.wait_for("/ # ");
    let (first, start, used) = (guest.date(), Instant::now(), guest.processor());
    std::thread::sleep(Duration::from_secs(8));
    let idle = guest.processor() - used;
    let (second, passed) = (guest.date(), start.elapsed().as_secs());
    let guests = second - first;
    assert!((6..=passed + 2).contains(&guests), "{guests} s of {passed}");
    assert!(idle < Duration::from_millis(1600), "{idle:?}");
    // Time limits of the guest's are those of who types.
    guest.type_in("read -t 60 word; echo read=$word.\r");
    std::thread::sleep(Duration::from_secs(2));
    guest.type_in("here\r");
    guest.wait_for("read=here.");
    // When nobody can type any more, idle time is skipped as ever.
    guest.type_in("sleep 40000; poweroff -f\r");
    let start = Instant::now();
    assert_eq!(guest.end(), Some(0));
    assert!(start.elapsed() < HANG, "{:?}", start.elapsed());
}

#[test]
fn a_shell_that_nobody_can_type_at_sleeps() {
    let mut guest = Piped::boot(&["--shell"]);
    guest.wait_for("/ # ");
    drop(guest.stdin.take());
    let deadline = Instant::now() + HANG;
    loop {
        let used = guest.processor();
        std::thread::sleep(Duration::from_secs(3));
        if guest.processor() - used < Duration::from_millis(600) {
            break;
        }
        assert!(Instant::now() < deadline, "it spins");
    }
    assert!(
        guest.child.try_wait().unwrap().is_none(),
        "it is still there"
    );
}

#[test]
fn a_session_with_pauses_is_replayed_exactly_and_without_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (recording, first) = (at("rec"), at("first.json"));
    let flags = |flag: &str, path: &Path| [flag.to_owned(), path.display().to_string()];
    let arguments = [flags("--record", &recording), flags("--json", &first)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut guest = Piped::boot(&[&["--shell"], &*arguments].concat());
    guest.wait_for("/ # ");
    guest.type_in("cat /proc/uptime\r");
    guest.wait_for("/ # ");
    std::thread::sleep(Duration::from_secs(3));
    guest.type_in("cat /proc/uptime; cat /proc/interrupts; poweroff -f\r");
    assert_eq!(guest.end(), Some(0));
    let again = at("again.json");
    let [replay, recording] = flags("--replay", &recording);
    let [flag, path] = flags("--json", &again);
    let ended = run(&["boot", &replay, &recording, &flag, &path]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (first, again) = (json(&first), json(&again));
    assert!(
        first["guest_ns"].as_u64().unwrap() > 3_000_000_000,
        "{first}"
    );
    for key in [
        "instructions",
        "guest_ns",
        "skipped_ns",
        "interrupts",
        "console_bytes",
        "exit",
    ] {
        assert_eq!(first[key], again[key], "{key}");
    }
}

#[test]
fn a_file_on_standard_input_repeats_exactly() {
    fetch();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(
        &script,
        "sleep 5; date\ncat /proc/uptime /proc/interrupts; poweroff -f\n",
    )
    .unwrap();
    let once = |name: &str| {
        let path = directory.path().join(name);
        let mut command = vmm(&[
            "boot",
            "--image",
            "ipmmu",
            "--wall-timeout",
            "900",
            "--shell",
        ]);
        command.args(["--json", path.to_str().unwrap()]);
        let output = command
            .stdin(fs::File::open(&script).unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = json(&path);
        let values = ["instructions", "guest_ns", "exits"].map(|key| report[key].clone());
        (values, output.stdout)
    };
    let first = once("first");
    assert!(
        String::from_utf8_lossy(&first.1).contains("2020"),
        "{first:?}"
    );
    assert_eq!(once("second"), first);
}

#[test]
fn the_date_at_power_on_is_the_hosts_when_asked_for() {
    fetch();
    let date = |arguments: &[&str]| {
        let boot = ["boot", "--image", "ipmmu", "--wall-timeout=900"];
        let say = [
            "--run",
            "read now </sys/class/rtc/rtc0/since_epoch; echo date=$now.",
        ];
        let ended = run(&[&boot, arguments, &say].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (_, rest) = ended.stdout.split_once("\ndate=").unwrap();
        rest.split_once('.').unwrap().0.parse::<u64>().unwrap()
    };
    let host = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    for arguments in [
        &["--epoch", "now"][..],
        &["--time", "host"],
        &["--time=host", "--epoch=now"],
    ] {
        let before = host();
        let shown = date(arguments);
        assert!(
            (before..=host() + 1).contains(&shown),
            "{shown} {arguments:?}"
        );
    }
    for arguments in [&["--epoch", "1000"][..], &["--time=host", "--epoch=1000"]] {
        assert!((1000..1900).contains(&date(arguments)), "{arguments:?}");
    }
    let shown = date(&[]);
    assert!((1_577_836_800..1_577_836_900).contains(&shown), "{shown}");
    let ended = run(&["boot", "--image", "ipmmu", "--epoch", "soon"]);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("is not a date"),
        "{ended:?}"
    );
}
