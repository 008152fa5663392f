//! Compiling the VMM for 64-bit ARM hosts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_images::{Cache, CrossRust, Terminal};

/// What to do for 64-bit ARM hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Compile the program vmm, linked statically, and say where it is
    Build,
    /// See whether everything compiles
    Check,
    /// Lint
    Clippy,
}

impl Task {
    /// Cargo's arguments. Lints come from Clippy's compiler in the place of a wrapper, so that they take no cargo-clippy of
    /// the same version.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            // Symbols would make the machine that it runs in load ten times as much.
            Self::Build => &[
                "build",
                "--release",
                "-p",
                "vmm",
                "--bin",
                "vmm",
                "--config",
                "profile.release.debug=false",
                "--config",
                "profile.release.strip=\"symbols\"",
            ],
            Self::Check | Self::Clippy => &["check", "--all-targets", "-p", "vmm", "-p", "viommu"],
        }
    }
}

/// Does `task`, and returns where the program is if it was one to make one.
///
/// # Errors
/// A sentence.
pub fn run(task: Task) -> Result<PathBuf, String> {
    let cache = Cache::open().map_err(|error| error.to_string())?;
    let rust = cache.cross_rust(&mut Terminal::new());
    let rust = rust.map_err(|error| error.to_string())?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("this program was not built in its workspace")?;
    let target = target_directory(workspace);
    let mut cargo = cargo(task, &rust, &target);
    let status = cargo
        .current_dir(workspace)
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("cargo failed for {}: {status}", rust.target));
    }
    let program = target.join(rust.target).join("release").join("vmm");
    if task == Task::Build {
        println!("{}", program.display());
    }
    Ok(program)
}

/// A directory of its own, since another compiler makes everything anew.
fn target_directory(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from)
        .join("arm64")
}

fn cargo(task: Task, rust: &CrossRust, target: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut cargo = Command::new(program);
    cargo
        .args(task.arguments())
        .args(["--locked", "--target", rust.target, "--target-dir"])
        .arg(target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", rust.linker)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .env_remove("RUSTFLAGS");
    if let Some(rustc) = &rust.rustc {
        // With rustup, cargo has told which compiler this program was made with.
        cargo.env("RUSTC", rustc).env_remove("RUSTUP_TOOLCHAIN");
    }
    if task == Task::Clippy {
        // The variables by which cargo-clippy gives its compiler the flags of lints; the odd word parts them.
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
