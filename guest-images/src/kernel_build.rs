//! Building a kernel from Debian's unmodified source with our configuration fragment.

use crate::Error;
use crate::error::IoContext;
use crate::lock::Lock;
use crate::make::{Maker, remove_tree};
use crate::manifest::Kernel;
use crate::process::{self, says_disk_full};
use crate::progress::Unit;
use crate::source::{self, Package};
use crate::{host, recipes};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a failed build's log that its error shows.
const SHOWN_LINES: usize = 20;

/// Sees to it that the programs for a build are on this host.
pub(crate) fn ensure_tools(maker: &mut Maker<'_>) -> Result<(), Error> {
    let path = maker.cache.lock_path("host");
    let _lock = Lock::acquire(&path, "installing host packages", maker.progress)?;
    host::ensure(&recipes::KERNEL_BUILD_PACKAGES, maker.progress)
}

/// Builds the kernel and stores what comes of it. A run that was killed is gone on with.
pub(crate) fn build(
    maker: &mut Maker<'_>,
    archive: &Path,
    recipe: String,
    package: Package,
) -> Result<Kernel, Error> {
    let tree = prepare_source(maker, archive, &recipe, &package)?;
    configure(maker, &tree)?;
    compile(maker, &tree)?;
    let blobs = maker.cache.blobs();
    let store = |path: &str| blobs.adopt(&tree.join(path));
    let release = tree.join("include/config/kernel.release");
    let version = fs::read_to_string(&release)
        .at("read", &release)?
        .trim()
        .to_owned();
    Ok(Kernel {
        recipe,
        version,
        packages: vec![package],
        zimage: store("arch/arm/boot/zImage")?,
        raw: Some(store("arch/arm/boot/Image")?),
        vmlinux: Some(store("vmlinux")?),
        system_map: Some(store("System.map")?),
        config: Some(store(".config")?),
    })
}

/// What a source tree in the work directory must have been made for, to be gone on with: the same package and recipe,
/// and no crash of the machine since, which may have left objects half written.
fn stamp(recipe: &str, package: &Package) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{recipe}\n{}\n{boot}", package.sha256)
}

/// The unpacked source, from an earlier run or fresh.
fn prepare_source(
    maker: &mut Maker<'_>,
    archive: &Path,
    recipe: &str,
    package: &Package,
) -> Result<PathBuf, Error> {
    let (tree, stamp_file) = (maker.work().join("linux"), maker.work().join("stamp"));
    let stamp = stamp(recipe, package);
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) && tree.is_dir() {
        maker
            .progress
            .note("Going on with the kernel build that an earlier run has begun.");
        return Ok(tree);
    }
    remove_tree(&maker.work())?;
    // The log counts what is done, so it starts anew together with the tree.
    crate::blob::write_atomically(&maker.cache.build_log(maker.spec), b"")?;
    let scratch = maker.scratch("source")?;
    maker.progress.start(
        &format!("unpacking {} {}", package.name, package.version),
        None,
    );
    let result = unpack_source(archive, &scratch, package);
    maker.progress.finish();
    let unpacked = result?;
    fs::rename(&unpacked, &tree).at("renamed", &unpacked)?;
    remove_tree(&scratch)?;
    crate::blob::write_atomically(&stamp_file, stamp.as_bytes())?;
    Ok(tree)
}

/// Unpacks the package and the archive in it; the result is the top of the source.
fn unpack_source(archive: &Path, scratch: &Path, package: &Package) -> Result<PathBuf, Error> {
    source::unpack(archive, scratch)?;
    let tarball = scratch
        .join("usr/src")
        .join(format!("{}.tar.xz", package.name));
    let mut tar = process::command("tar");
    let (outcome, _) = process::output(
        tar.arg("--extract")
            .arg("--file")
            .arg(&tarball)
            .arg("--directory")
            .arg(scratch),
    )?;
    if outcome.disk_was_full() {
        return Err(Error::DiskFull {
            path: scratch.to_path_buf(),
            needed: None,
        });
    }
    let top = scratch.join(&package.name);
    if !outcome.status.success() || !top.join("Makefile").is_file() {
        return Err(Error::Package {
            package: package.name.clone(),
            detail: outcome.last_error(),
        });
    }
    Ok(top)
}

/// `make` in the source tree, its errors in order among its output. It ends when this process does, however that ends;
/// whoever comes next waits for what of it is still running (the lock on `busy` is inherited), so that never two of them
/// work in one tree.
fn make(maker: &Maker<'_>, tree: &Path) -> Command {
    let mut make = process::mortal_command("sh");
    make.args(["-c", "exec \"$@\" 2>&1", "sh", "flock", "--no-fork"]);
    make.arg(maker.work().join("busy")).arg("make");
    make.args(recipes::BUILD_SETTINGS);
    // Debugging information must not depend on where the cache is.
    let map = format!("-fdebug-prefix-map={}=.", tree.display());
    make.arg(format!("KCFLAGS={map}"))
        .arg(format!("KAFLAGS={map}"));
    make.envs(recipes::BUILD_ENVIRONMENT).current_dir(tree);
    // What a caller's own make or kernel work has set must not leak in.
    for name in [
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "KBUILD_OUTPUT",
        "KCONFIG_CONFIG",
        "LOCALVERSION",
    ] {
        make.env_remove(name);
    }
    make
}

/// Writes the configuration, and checks that every line of the fragment is in it.
fn configure(maker: &mut Maker<'_>, tree: &Path) -> Result<(), Error> {
    let fragment = maker.work().join("fragment.config");
    fs::write(&fragment, recipes::IPMMU_CONFIG).at("written", &fragment)?;
    let mut command = make(maker, tree);
    command
        .env("KCONFIG_ALLCONFIG", &fragment)
        .arg("allnoconfig");
    maker.progress.start("configuring the kernel", None);
    let result = process::output(&mut command);
    maker.progress.finish();
    let (outcome, text) = result?;
    if !outcome.status.success() {
        let log = maker.cache.build_log(maker.spec);
        crate::blob::write_atomically(&log, text.as_bytes())?;
        return Err(failure(log, tree, text.lines().collect()));
    }
    let path = tree.join(".config");
    let config = fs::read_to_string(&path).at("read", &path)?;
    let lines = missing_lines(recipes::IPMMU_CONFIG, &config);
    if lines.is_empty() {
        Ok(())
    } else {
        Err(Error::Fragment { lines })
    }
}

/// Settings of a fragment that a configuration does not have.
fn missing_lines(fragment: &str, config: &str) -> Vec<String> {
    let is_setting = |line: &&str| {
        line.starts_with("CONFIG_")
            || (line.starts_with("# CONFIG_") && line.ends_with(" is not set"))
    };
    let has = |setting: &str| match setting
        .strip_prefix("# ")
        .and_then(|line| line.strip_suffix(" is not set"))
    {
        // What an option depends on may be off; it is not mentioned then, and off all the same.
        Some(option) => !config.lines().any(|line| {
            line.strip_prefix(option)
                .is_some_and(|rest| rest.starts_with('='))
        }),
        None => config.lines().any(|line| line == setting),
    };
    fragment
        .lines()
        .map(str::trim)
        .filter(is_setting)
        .filter(|line| !has(line))
        .map(str::to_owned)
        .collect()
}

/// Compiles, with all output in the log and the progress counted from it.
fn compile(maker: &mut Maker<'_>, tree: &Path) -> Result<(), Error> {
    let path = maker.cache.build_log(maker.spec);
    let earlier = fs::read(&path).unwrap_or_default();
    let mut done = String::from_utf8_lossy(&earlier)
        .lines()
        .filter(|line| is_step(line))
        .count() as u64;
    let mut log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .at("opened", &path)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = make(maker, tree);
    command.arg(format!("-j{jobs}")).arg("zImage");
    maker.progress.start(
        "building the kernel",
        Some((recipes::IPMMU_BUILD_STEPS, Unit::Steps)),
    );
    let (mut tail, mut written) = (VecDeque::new(), Ok(()));
    let progress = &mut *maker.progress;
    let result = process::run(&mut command, &mut |line| {
        if written.is_ok() {
            written = writeln!(log, "{line}");
        }
        tail.push_back(line.to_owned());
        if tail.len() > SHOWN_LINES {
            tail.pop_front();
        }
        if is_step(line) {
            done += 1;
            progress.advance(done);
        }
    });
    maker.progress.finish();
    let outcome = result?;
    written.at("written", &path)?;
    if outcome.status.success() {
        return Ok(());
    }
    Err(failure(
        path,
        tree,
        tail.iter().map(String::as_str).collect(),
    ))
}

/// Whether a line of the build's output tells of a file that is now compiled, assembled, linked or archived.
fn is_step(line: &str) -> bool {
    line.strip_prefix("  ").is_some_and(|line| {
        ["CC", "LD", "AR", "AS", "HOSTCC"]
            .iter()
            .any(|verb| line.starts_with(verb))
    })
}

/// The error for a failed build.
fn failure(log: PathBuf, tree: &Path, lines: Vec<&str>) -> Error {
    let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    if says_disk_full(&tail) {
        return Error::DiskFull {
            path: tree.to_path_buf(),
            needed: None,
        };
    }
    Error::Build { log, tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_fragment_counts() {
        let fragment =
            "# A comment.\nCONFIG_A=y\nCONFIG_N=4\n# CONFIG_T is not set\n# CONFIG_U is not set\n";
        assert_eq!(
            missing_lines(fragment, "CONFIG_A=y\nCONFIG_N=4\n# CONFIG_T is not set\n"),
            [""; 0]
        );
        let config = "CONFIG_A=m\nCONFIG_N=42\nCONFIG_T=y\nCONFIG_TT=y\n";
        assert_eq!(
            missing_lines(fragment, config),
            ["CONFIG_A=y", "CONFIG_N=4", "# CONFIG_T is not set"]
        );
    }

    #[test]
    fn our_fragment_sets_something() {
        assert!(missing_lines(recipes::IPMMU_CONFIG, "").len() > 80);
        for line in recipes::IPMMU_CONFIG.lines() {
            assert!(
                line.is_empty() || line.starts_with('#') || line.starts_with("CONFIG_"),
                "{line}"
            );
        }
    }

    #[test]
    fn steps_are_told_from_other_lines() {
        for line in [
            "  CC      init/main.o",
            "  AR      kernel/built-in.a",
            "  LD      vmlinux.o",
            "  HOSTCC  scripts/x",
        ] {
            assert!(is_step(line), "{line}");
        }
        for line in [
            "  CALL    scripts/checksyscalls.sh",
            "CC x",
            "",
            "  Kernel: arch/arm/boot/zImage is ready",
        ] {
            assert!(!is_step(line), "{line}");
        }
    }

    #[test]
    fn failed_build_shows_the_end_of_its_log() {
        let lines: Vec<_> = (0..100).map(|number| format!("line {number}")).collect();
        let error = failure(
            "/c/logs/x.log".into(),
            Path::new("/c"),
            lines.iter().map(String::as_str).collect(),
        );
        let text = error.to_string();
        assert!(
            text.contains("its log is /c/logs/x.log") && text.ends_with("line 99"),
            "{text}"
        );
        assert!(text.contains("line 80") && !text.contains("line 79"));
        let full = failure(
            "/l".into(),
            Path::new("/c"),
            vec![
                "as: write: No space left on device",
                "make: *** [x] Error 1",
            ],
        );
        assert!(matches!(full, Error::DiskFull { .. }));
    }
}
