//! Compiling the VMM for 64-bit ARM hosts, and testing what is theirs alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use guest_images::{Cache, CrossRust, Terminal};
use serde_json::Value;

/// What to do for 64-bit ARM hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Compile the program vmm, linked statically, and say where it is
    Build,
    /// Compile the unit tests of the machine, linked statically, and say where they are
    Tests,
    /// Run the tests of the translator, emulated unless this is such a host
    Test,
    /// See whether everything compiles
    Check,
    /// Lint
    Clippy,
}

impl Task {
    /// Returns whether it makes a program.
    const fn builds(self) -> bool {
        matches!(self, Self::Build | Self::Tests)
    }

    /// Returns cargo's arguments. Lints come from Clippy's compiler in the place of a wrapper, so
    /// that they take no cargo-clippy of the same version.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Build => &["build", "-p", "vmm", "--bin", "vmm"],
            Self::Tests => &["test", "--no-run", "-p", "vmm-machine", "--lib"],
            Self::Test => &[
                "test",
                "--release",
                "-p",
                "arm32",
                "--lib",
                "--test",
                "code_memory",
                "--test",
                "lockstep",
                "--test",
                "translated",
            ],
            // The machine by itself, too: its unit tests of KVM are linted nowhere else, and those
            // of the translator's back end neither.
            Self::Check | Self::Clippy => &[
                "check",
                "--all-targets",
                "-p",
                "arm32",
                "-p",
                "vmm",
                "-p",
                "vmm-machine",
                "-p",
                "viommu",
            ],
        }
    }
}

/// Does `task`, and returns where the program is if it was one to make one.
///
/// # Errors
/// A sentence.
pub fn run(task: Task) -> anyhow::Result<Option<PathBuf>> {
    let cache = Cache::open().map_err(anyhow::Error::msg)?;
    let rust = cache.cross_rust(&mut Terminal::new());
    let rust = rust.map_err(anyhow::Error::msg)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("this program was not built in its workspace")?;
    let mut cargo = cargo(task, &rust, &target_directory(workspace));
    if task == Task::Test {
        // Nobody reads what it says but a person.
        cargo.stdout(Stdio::inherit());
        if cfg!(not(target_arch = "aarch64")) {
            let emulator = cache.arm64_emulator(&mut Terminal::new());
            let emulator = emulator.map_err(anyhow::Error::msg)?;
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", emulator);
        }
    }
    let done = cargo
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        done.status.success(),
        "cargo failed for {}: {}",
        rust.target,
        done.status
    );
    if !task.builds() {
        return Ok(None);
    }
    let made = executable(&done.stdout).context("cargo does not say where the program is")?;
    println!("{}", made.display());
    Ok(Some(made))
}

/// Returns the program that cargo's messages, one on each line, say it made.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| Some(message["executable"].as_str()?.into()));
    programs.next_back()
}

/// Returns a directory of its own, since another compiler makes everything anew.
fn target_directory(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from)
        .join("arm64")
}

fn cargo(task: Task, rust: &CrossRust, target: &Path) -> Command {
    let mut cargo = super::cargo();
    cargo
        .args(task.arguments())
        .args(["--locked", "--target", rust.target, "--target-dir"])
        .arg(target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", rust.linker)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        // Cargo would take these flags in the place of the target's own.
        .env_remove("RUSTFLAGS");
    if task.builds() {
        // Symbols would make the machine that it runs in load ten times as much.
        cargo.args([
            "--release",
            "--message-format=json-render-diagnostics",
            "--config",
            "profile.release.debug=false",
            "--config",
            "profile.release.strip=\"symbols\"",
        ]);
    }
    if let Some(rustc) = &rust.rustc {
        // With rustup, cargo has told which compiler this program was made with.
        cargo.env("RUSTC", rustc).env_remove("RUSTUP_TOOLCHAIN");
    }
    if task == Task::Clippy {
        // The variables by which cargo-clippy gives its compiler the flags of lints; the odd word
        // parts them.
        let clippy = rust.clippy.clone().map(OsString::from);
        cargo
            .env(
                "RUSTC_WORKSPACE_WRAPPER",
                clippy.unwrap_or_else(|| "clippy-driver".into()),
            )
            .env(
                "CLIPPY_ARGS",
                "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
            );
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages = br#"{"reason":"compiler-artifact","executable":null}
            {"reason":"compiler-artifact","executable":"/t/release/vmm"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some("/t/release/vmm".into()));
        assert_eq!(executable(b"{}\nnothing"), None);
    }
}
