//! What a killed run leaves at work: nothing, so that the next run succeeds.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Ended;
use crate::fakes::Fakes;

/// How long the test waits for something that is to happen at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host with a mirror that is one `apt-get`. It holds a lock, as the real one does, and so does
/// what it starts; while the file `slow` is there it does not end by itself.
fn host() -> Fakes {
    let fakes = Fakes::new();
    fakes.program(
        "dpkg-query",
        "for package; do case $package in -*) ;; *) echo \"$package installed\";; esac; done",
    );
    fakes.program("apt-config", "exit 0");
    fakes.program(
        "apt-get",
        "exec 9> \"$FAKES/apt.lock\"\n\
         flock --nonblock 9 || { echo 'E: Could not get lock' >&2; exit 100; }\n\
         echo $$ >> \"$FAKES/pids\"\n\
         if [ -e \"$FAKES/slow\" ]; then\n\
           # One that ignores being asked, and one in a session of its own.\n\
           sh -c 'trap \"\" TERM; echo $$ >> \"$FAKES/pids\"; while :; do sleep 1000; done' &\n\
           setsid sh -c 'echo $$ >> \"$FAKES/pids\"; touch \"$FAKES/at-work\"; sleep 1000; :' &\n\
           wait\n\
         fi\n\
         touch \"$FAKES/done\"\n\
         echo 'E: this one only pretends' >&2; exit 100",
    );
    fs::write(fakes.path("slow"), "").unwrap();
    fakes
}

/// Starts to fetch an image, and returns when `apt-get` and what it starts are at work.
fn fetching(fakes: &Fakes) -> Child {
    let program = fakes.vmm(&["images", "fetch", "debian-armmp"]);
    // Whoever runs the tests in the background of a script has SIGINT ignored, by all that they
    // start.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = command.spawn().expect("the program should start");
    wait_for("apt-get and what it starts to be at work", || {
        running(fakes).len() == 3
    });
    child
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.unwrap().success());
}

/// Those of the pretended programs that still run.
fn running(fakes: &Fakes) -> Vec<String> {
    let alive = |pid: &&str| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    let pids = fakes.read("pids");
    pids.lines().filter(alive).map(str::to_owned).collect()
}

#[test]
fn a_killed_fetch_takes_everything_along_and_the_next_one_gets_the_locks() {
    for name in ["KILL", "TERM", "INT"] {
        let fakes = host();
        let mut child = fetching(&fakes);
        signal(&child, name);
        child.wait().unwrap();
        // At once, while what was left is still being ended: the next run waits for that, and then
        // has apt's lock.
        fs::remove_file(fakes.path("slow")).unwrap();
        let next: Ended = fakes
            .vmm(&["images", "fetch", "debian-armmp"])
            .output()
            .unwrap()
            .into();
        assert!(
            !next.stderr.contains("Could not get lock"),
            "SIG{name}: {next:?}"
        );
        assert!(
            next.stderr.contains("this one only pretends"),
            "SIG{name}: {next:?}"
        );
        assert!(fakes.path("done").exists());
        wait_for("the programs to end", || running(&fakes).is_empty());
    }
}

#[test]
fn a_run_that_waits_for_another_says_for_which() {
    let fakes = host();
    let mut first = fetching(&fakes);
    let mut second = fakes
        .vmm(&["images", "fetch", "debian-armmp"])
        .stderr(fs::File::create(fakes.path("said")).unwrap())
        .spawn()
        .unwrap();
    let sentence = format!(
        "Waiting for process {} (vmm images fetch debian-armmp), which is busy with the image",
        first.id()
    );
    wait_for("the sentence", || fakes.read("said").contains(&sentence));
    fs::remove_file(fakes.path("slow")).unwrap();
    signal(&first, "KILL");
    first.wait().unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(2));
    assert!(
        fakes.read("said").contains("this one only pretends"),
        "{}",
        fakes.read("said")
    );
}

#[test]
fn a_package_manager_at_work_is_left_to_finish_and_waited_for() {
    let fakes = Fakes::bare_host(0);
    fakes.program(
        "apt-get",
        "case \"$*\" in *install*) ;; *) exit 100;; esac\n\
         echo $$ >> \"$FAKES/pids\"; touch \"$FAKES/at-work\"\n\
         while [ -e \"$FAKES/slow\" ]; do sleep 0.05; echo progress; done; touch \"$FAKES/done\"",
    );
    fs::write(fakes.path("slow"), "").unwrap();
    let arguments = ["images", "fetch", "debian-armmp", "--install-packages"];
    let mut first = fakes.vmm(&arguments).stderr(Stdio::null()).spawn().unwrap();
    wait_for("apt-get to be at work", || fakes.path("at-work").exists());
    signal(&first, "KILL");
    first.wait().unwrap();
    let mut second = fakes
        .vmm(&arguments)
        .stderr(fs::File::create(fakes.path("said")).unwrap())
        .spawn()
        .unwrap();
    let sentence = format!("what process {} (vmm images fetch", first.id());
    wait_for("the sentence", || fakes.read("said").contains(&sentence));
    assert_eq!(
        running(&fakes).len(),
        1,
        "the package manager was cut short"
    );
    fs::remove_file(fakes.path("slow")).unwrap();
    second.wait().unwrap();
    assert!(fakes.path("done").exists());
}
