//! Packages of the host are installed only when the user allows it.

use crate::fakes::Fakes;
use crate::terminal::OnTerminal;
use crate::{Ended, run};

/// Every command that may obtain an image that has to be compiled.
fn commands(fakes: &Fakes) -> Vec<Vec<String>> {
    let snapshot = fakes.path("x.snap").display().to_string();
    [
        &["images", "fetch", "debian-armmp", "ipmmu"][..],
        &["images", "build", "ipmmu"],
        &["boot", "--image", "ipmmu"],
        &[
            "snapshot", "save", &snapshot, "--image", "ipmmu", "--at", "1",
        ],
        &["inject", "flush", "--runs", "1"],
        &["lab", "run", "deferral.shared"],
        &["lab", "matrix", "deferral.shared", "--image", "ipmmu-6.12"],
        &["demo"],
    ]
    .iter()
    .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
    .collect()
}

/// Fetches an image that is not compiled here.
const FETCH: [&str; 3] = ["images", "fetch", "debian-armmp"];

fn ended(fakes: &Fakes, arguments: &[String], variable: Option<&str>) -> Ended {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = fakes.vmm(&words);
    command.current_dir(fakes.path(""));
    if let Some(value) = variable {
        command.env("VIOMMU_INSTALL", value);
    }
    command.output().unwrap().into()
}

#[test]
fn without_leave_the_exact_command_is_printed_and_nothing_is_done() {
    for (user, prefix) in [(0, ""), (1000, "sudo ")] {
        let fakes = Fakes::bare_host(user);
        for arguments in commands(&fakes) {
            for variable in [None, Some("no"), Some("")] {
                let ended = ended(&fakes, &arguments, variable);
                assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
                let command = format!(": {prefix}apt-get install --no-install-recommends apt bc ");
                assert!(ended.stderr.contains(&command), "{arguments:?}: {ended:?}");
                ended.assert_stderr("--install-packages");
                assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            }
        }
        assert_eq!(fakes.read("log"), "", "something was run");
        assert!(!fakes.path("cache/apt").exists() && !fakes.path("cache/downloads").exists());
        assert!(!fakes.path("x.snap").exists());
    }
}

#[test]
fn a_flag_or_the_variable_is_leave_enough() {
    for (user, prefix) in [
        (0, ""),
        (1000, "sudo -n env DEBIAN_FRONTEND=noninteractive LC_ALL=C "),
    ] {
        for flag in [false, true] {
            let probe = Fakes::bare_host(user);
            for mut arguments in commands(&probe) {
                let fakes = Fakes::bare_host(user);
                if flag {
                    arguments.push("--install-packages".into());
                }
                let ended = ended(&fakes, &arguments, (!flag).then_some("yes"));
                // The installation pretends to succeed; then apt-get update, which comes next,
                // fails.
                assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
                assert!(
                    ended.stderr.contains("only pretends"),
                    "{arguments:?}: {ended:?}"
                );
                let log = fakes.read("log");
                let install = format!("{prefix}apt-get -q -y -o DPkg::Lock::Timeout=600 install ");
                assert!(log.contains(&install), "{arguments:?}: {log}");
                assert!(log.contains(" gcc-arm-linux-gnueabihf "), "{log}");
            }
        }
    }
}

#[test]
fn a_variable_that_says_neither_is_refused() {
    let fakes = Fakes::bare_host(0);
    let ended = ended(&fakes, &FETCH.map(str::to_owned), Some("maybe"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("VIOMMU_INSTALL=\"maybe\"");
    assert_eq!(fakes.read("log"), "");
}

#[test]
fn a_stock_image_takes_no_compiler() {
    for arguments in [&FETCH[..], &["demo", "--stock-only"]] {
        let fakes = Fakes::bare_host(0);
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let ended = ended(&fakes, &arguments, None);
        assert!(
            ended.stderr.trim_end().ends_with(
                ": apt-get install --no-install-recommends apt \
                 debian-archive-keyring dpkg gpgv"
            ),
            "{ended:?}"
        );
    }
}

#[test]
fn a_user_at_a_terminal_is_shown_the_command_and_asked() {
    for (answer, installs) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let fakes = Fakes::bare_host(0);
        let shell = "\"$VMM\" images fetch debian-armmp; echo \"code $?\"";
        let mut terminal = OnTerminal::start_with(shell, |command| fakes.with(command));
        terminal.wait_for(
            "apt-get install --no-install-recommends apt debian-archive-keyring dpkg gpgv",
        );
        terminal.wait_for("[y/N]");
        assert_eq!(fakes.read("log"), "");
        terminal.type_in(answer.as_bytes());
        terminal.wait_for("code 2");
        assert_eq!(
            fakes.read("log").contains(" install "),
            installs,
            "{}",
            fakes.read("log")
        );
    }
}

#[test]
fn the_help_of_each_such_command_says_so() {
    for command in [
        &["images", "fetch"][..],
        &["images", "build"],
        &["boot"],
        &["snapshot", "save"],
        &["inject"],
        &["lab", "run"],
        &["lab", "matrix"],
        &["demo"],
    ] {
        let help = run(&[command, &["--help"]].concat()).stdout;
        for words in ["--install-packages", "VIOMMU_INSTALL=yes"] {
            assert!(
                help.contains(words),
                "{command:?} does not say {words}:\n{help}"
            );
        }
    }
}
