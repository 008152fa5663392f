//! Building a kernel from Debian's source with our configuration fragment.

use crate::Error;
use crate::error::IoContext;
use crate::image_spec::OwnModule;
use crate::kernel_source::SourceTree;
use crate::lock::Lock;
use crate::maker::Maker;
use crate::manifest::{DeviceTreeFile, Kernel, ModuleFile};
use crate::modules::Index;
use crate::process::{self, says_disk_full};
use crate::progress::{Progress, Unit};
use crate::source::Package;
use crate::source_edit::SourceEdit;
use crate::{host, recipes};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a failed build's log that its error shows.
const SHOWN_LINES: usize = 20;

/// Sees to it that the programs that compile an image's kernel, or modules for it, are on this
/// host.
pub(crate) fn ensure_tools(maker: &mut Maker<'_>) -> Result<(), Error> {
    let Some(group) = maker.spec.compiling() else {
        return Ok(());
    };
    let path = maker.store.lock_path("host");
    let _lock = Lock::acquire(&path, "installing host packages", maker.progress)?;
    host::ensure(&host::packages(group), maker.progress)
}

/// The plan by which a kernel is built.
pub(crate) struct Plan<'a> {
    /// The package with the source.
    pub package: Package,
    /// Its file.
    pub archive: &'a Path,
    /// The whole configuration fragment.
    pub fragment: &'a str,
    /// Edits of the source.
    pub edits: &'a [SourceEdit],
    /// Modules of our own.
    pub own_modules: &'a [OwnModule],
    /// Device trees of boards.
    pub device_trees: &'a [&'a str],
    /// Hash of the recipe.
    pub recipe: String,
}

/// Builds the kernel and stores what comes of it. A run that was killed is gone on with.
pub(crate) fn build(maker: &mut Maker<'_>, plan: Plan<'_>) -> Result<Kernel, Error> {
    let source = SourceTree::prepare(maker, plan.archive, &plan.package, plan.edits)?;
    configure(maker, &source, plan.fragment)?;
    compile(maker, &source)?;
    let own = compile_own(maker, &source, plan.own_modules)?;
    let modules = install_modules(maker, &source, own.as_deref())?;
    compile_device_trees(maker, &source, plan.device_trees)?;
    let tree = source.top();
    let blobs = maker.store.blobs();
    // Copies, as `make` must find its own files where it left them when it builds another image.
    let copies = maker.scratch("kernel")?;
    let store = |path: &str| {
        let (from, name) = (tree.join(path), path.replace('/', "-"));
        let copy = copies.join(name);
        fs::copy(&from, &copy).at("copied", &from)?;
        blobs.adopt(&copy)
    };
    let release = tree.join("include/config/kernel.release");
    let version = fs::read_to_string(&release)
        .at("read", &release)?
        .trim()
        .to_owned();
    let device_tree = |name: &&str| {
        let file = store(&device_tree_path(&tree, name)?)?;
        let name = (*name).to_owned();
        Ok::<_, Error>(DeviceTreeFile { name, file })
    };
    let device_trees = plan.device_trees.iter().map(device_tree);
    Ok(Kernel {
        recipe: plan.recipe,
        version,
        packages: vec![plan.package],
        zimage: store("arch/arm/boot/zImage")?,
        raw: Some(store("arch/arm/boot/Image")?),
        vmlinux: Some(store("vmlinux")?),
        system_map: Some(store("System.map")?),
        config: Some(store(".config")?),
        modules,
        device_trees: device_trees.collect::<Result<_, _>>()?,
    })
}

/// Returns where in the tree the compiled device tree `name` is.
fn device_tree_path(tree: &Path, name: &str) -> Result<String, Error> {
    // Since 6.5 those of each vendor have a directory of their own.
    let top = "arch/arm/boot/dts";
    let vendors = ["", "/renesas"].map(|vendor| format!("{top}{vendor}/{name}"));
    let found = vendors.into_iter().find(|path| tree.join(path).is_file());
    found.ok_or_else(|| {
        let missing = std::io::ErrorKind::NotFound;
        Error::io("read", &tree.join(top).join(name), missing.into())
    })
}

/// Compiles device trees of boards, as they are in the source.
fn compile_device_trees(
    maker: &mut Maker<'_>,
    source: &SourceTree,
    names: &[&str],
) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let mut command = make(source);
    command.args(names);
    make_in_tree(maker, source, command, "compiling device trees")
}

/// Returns the command `make` in the source tree, its errors in order among its output. It ends
/// when this process does, however that ends. Should its keeper be killed as well, whoever comes
/// next still waits for what of it is running (the lock on `busy` is inherited), so that never two
/// of them work in one tree.
fn make(source: &SourceTree) -> Command {
    let tree = source.top();
    let mut make = process::command("sh");
    // No process stays in between: make is the one that the keeper watches and signals.
    make.args(["-c", "exec \"$@\" 2>&1", "sh", "flock", "--no-fork"]);
    make.arg(source.busy()).arg("make");
    make.args(recipes::BUILD_SETTINGS);
    // Debugging information must not depend on where the cache is.
    let map = format!("-fdebug-prefix-map={}=.", tree.display());
    make.arg(format!("KCFLAGS={map}"))
        .arg(format!("KAFLAGS={map}"));
    make.envs(recipes::BUILD_ENVIRONMENT).current_dir(&tree);
    forget_settings(&mut make);
    make
}

/// Keeps what a caller's own make or kernel work has set from leaking in.
pub(crate) fn forget_settings(make: &mut Command) {
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
}

/// Writes the configuration, and checks that every line of the fragment is in it.
fn configure(maker: &mut Maker<'_>, source: &SourceTree, fragment: &str) -> Result<(), Error> {
    let path = maker.scratch("configuration")?.join("fragment.config");
    fs::write(&path, fragment).at("written", &path)?;
    let mut command = make(source);
    // Options of the fragment are as it says, and all others are off.
    command.env("KCONFIG_ALLCONFIG", &path).arg("allnoconfig");
    make_in_tree(maker, source, command, "configuring the kernel")?;
    let path = source.top().join(".config");
    let config = fs::read_to_string(&path).at("read", &path)?;
    // kconfig drops without a word what depends on something that is off.
    let lines = missing_lines(fragment, &config);
    if lines.is_empty() {
        Ok(())
    } else {
        Err(Error::Fragment { lines })
    }
}

/// Runs a `make` in the source tree that takes seconds.
fn make_in_tree(
    maker: &mut Maker<'_>,
    source: &SourceTree,
    command: Command,
    what: &str,
) -> Result<(), Error> {
    let log = maker.store.build_log(maker.spec);
    quick_make(maker.progress, &log, &source.top(), command, what)
}

/// Runs a `make` that works in `place` and takes seconds; its words are of interest only if it
/// fails, and are then in `log`.
pub(crate) fn quick_make(
    progress: &mut dyn Progress,
    log: &Path,
    place: &Path,
    mut command: Command,
    what: &str,
) -> Result<(), Error> {
    progress.start(what, None);
    let result = process::output(&mut command);
    progress.finish();
    let (outcome, text) = result?;
    if outcome.status.success() {
        return Ok(());
    }
    crate::blob::write_atomically(log, text.as_bytes())?;
    Err(failure(log.to_owned(), place, text.lines().collect()))
}

/// Compiles modules of our own for the kernel that is in the tree. Returns where they are, if there
/// are any.
fn compile_own(
    maker: &mut Maker<'_>,
    source: &SourceTree,
    modules: &[OwnModule],
) -> Result<Option<PathBuf>, Error> {
    if modules.is_empty() {
        return Ok(None);
    }
    // Within the tree, whose place is kept out of the objects. Kbuild looks only where it is told.
    let place = source.top().join("viommu");
    fs::create_dir_all(&place).at("created", &place)?;
    write_modules(&place, modules.iter().map(|own| (own.name, own.source)))?;
    let mut command = make(source);
    command.arg(format!("M={}", place.display())).arg("modules");
    make_in_tree(maker, source, command, "compiling modules of ours")?;
    Ok(Some(place))
}

/// Writes the sources of modules, each with its name, and what kbuild is to make of them.
pub(crate) fn write_modules<'a>(
    place: &Path,
    modules: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Error> {
    let mut kbuild = String::new();
    for (name, source) in modules {
        kbuild += &format!("obj-m += {name}.o\n");
        let file = place.join(format!("{name}.c"));
        fs::write(&file, source).at("written", &file)?;
    }
    let file = place.join("Kbuild");
    fs::write(&file, kbuild).at("written", &file)
}

/// Stores all modules that were compiled, those of our own in `own` too, without debugging
/// information. `depmod` is kept out of it: dependencies are read from the modules here, as for
/// stock kernels.
fn install_modules(
    maker: &mut Maker<'_>,
    source: &SourceTree,
    own: Option<&Path>,
) -> Result<Vec<ModuleFile>, Error> {
    let place = maker.scratch("modules")?;
    // The kernel's first: installing them empties the directory.
    for own in [None].into_iter().chain(own.map(Some)) {
        let mut command = make(source);
        if let Some(own) = own {
            command.arg(format!("M={}", own.display()));
        }
        command
            .arg(format!("INSTALL_MOD_PATH={}", place.display()))
            .args(["INSTALL_MOD_STRIP=1", "DEPMOD=true", "modules_install"]);
        make_in_tree(maker, source, command, "collecting the modules")?;
    }
    let index = Index::scan(&place)?;
    let store = |(name, path): (&str, &Path)| {
        Ok(ModuleFile {
            name: name.to_owned(),
            file: maker.store.blobs().adopt(path)?,
        })
    };
    index.files().map(store).collect()
}

/// Returns the settings of a fragment that a configuration does not have.
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
fn compile(maker: &mut Maker<'_>, source: &SourceTree) -> Result<(), Error> {
    let path = maker.store.build_log(maker.spec);
    // A build that is gone on with has done these steps, and appends to the same log.
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
    let mut command = make(source);
    command.arg(format!("-j{jobs}")).args(["zImage", "modules"]);
    // How much of another image's objects will do is not known before.
    let steps = source
        .is_fresh()
        .then_some((recipes::BUILD_STEPS, Unit::Steps));
    maker.progress.start("building the kernel", steps);
    let (mut tail, mut written) = (VecDeque::new(), Ok(()));
    let progress = &mut *maker.progress;
    let result = process::run(&mut command, &mut |line| {
        // A log that cannot be written does not stop the build, but is told when it is over.
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
        &source.top(),
        tail.iter().map(String::as_str).collect(),
    ))
}

/// Returns whether a line of the build's output tells of a file that is now compiled, assembled,
/// linked or archived.
fn is_step(line: &str) -> bool {
    line.strip_prefix("  ").is_some_and(|line| {
        ["CC", "LD", "AR", "AS", "HOSTCC"]
            .iter()
            .any(|verb| line.starts_with(verb))
    })
}

/// Returns the error for a failed build.
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
