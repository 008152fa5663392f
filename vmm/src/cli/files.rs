//! What a command reads and what it writes, so that no output takes the place of an input or of
//! another output.
//!
//! Every command names its files here before it opens one for writing or fetches anything. Two
//! names are the same file if device and inode say so, whatever links and `..` are on the way; of a
//! file that does not exist yet, its directory's do.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use guest_images::Cache;
use vmm::Config;
use vmm_machine::Role;

use super::UserError;
use super::console::Destination;
use super::settings::Settings;
use super::values::{Disk, Net};

/// The endings of the files of one report in a directory.
const REPORT_ENDINGS: [&str; 4] = ["html", "txt", "trace.json", "json"];
/// The parts of the image cache's directory that only the cache writes.
const CACHE_PARTS: [&str; 4] = ["blobs", "images", "cross", "locks"];

/// The files of one command.
#[derive(Debug, Default)]
pub struct Files {
    inputs: Vec<Input>,
    /// Folders of which every file is read.
    folders: Vec<PathBuf>,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Input {
    /// Its meaning: "disk".
    what: String,
    path: PathBuf,
}

#[derive(Debug)]
struct Output {
    /// The flag by which the user named it: "--json".
    flag: &'static str,
    path: PathBuf,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.what, self.path.display())
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flag, self.path.display())
    }
}

impl Files {
    /// Notes that the command reads `path`, or has the guest write it.
    pub fn input(&mut self, what: impl fmt::Display, path: &Path) {
        self.inputs.push(Input {
            what: what.to_string(),
            path: path.to_owned(),
        });
    }

    /// Notes each of `paths` as [`Files::input`] does.
    pub fn inputs<'p>(
        &mut self,
        what: impl fmt::Display,
        paths: impl IntoIterator<Item = &'p PathBuf>,
    ) {
        for path in paths {
            self.input(&what, path);
        }
    }

    /// Notes that the command reads all that is in these folders.
    pub fn folders<'p>(&mut self, paths: impl IntoIterator<Item = &'p PathBuf>) {
        self.folders.extend(paths.into_iter().cloned());
    }

    /// Notes that the command writes `path`, if there is one: the user names it by `flag`.
    pub fn output(&mut self, flag: &'static str, path: Option<&Path>) {
        self.outputs.extend(path.map(|path| Output {
            flag,
            path: path.to_owned(),
        }));
    }

    /// Notes that the command writes a report of each of these names to the directory.
    pub fn reports<'n>(
        &mut self,
        flag: &'static str,
        directory: &Path,
        names: impl IntoIterator<Item = &'n str>,
    ) {
        for name in names {
            for ending in REPORT_ENDINGS {
                self.output(flag, Some(&directory.join(format!("{name}.{ending}"))));
            }
        }
    }

    /// Notes what settings name.
    pub fn settings(&mut self, settings: &Settings) {
        self.inputs("kernel", &settings.kernel);
        self.inputs("initial file system", &settings.initrd);
        self.inputs("device tree", &settings.dtb);
        self.inputs("root disk", &settings.rootfs_disk);
        self.inputs("vmlinux", &settings.vmlinux);
        self.inputs("DMA script", &settings.dma_script);
        self.inputs("disk", settings.disk.iter().map(|Disk(disk)| &disk.path));
        self.folders(
            settings
                .net
                .iter()
                .filter_map(|Net(net)| net.folder.as_ref()),
        );
        self.outputs_of(settings);
    }

    /// Notes what settings name to be written.
    pub fn outputs_of(&mut self, settings: &Settings) {
        self.output("--json", settings.json.as_deref());
        self.output("--timeline", settings.timeline.as_deref());
        if let Some(Destination::File(path)) = &settings.console {
            self.output("--console", Some(path));
        }
    }

    /// Notes what a machine is made from.
    pub fn machine(&mut self, config: &Config) {
        for (role, path) in config.files() {
            match role {
                Role::Disk(_) => self.input("disk", path),
                role => self.input(role, path),
            }
        }
        self.folders(config.nets.iter().filter_map(|net| net.folder.as_ref()));
    }

    /// Returns the output, and the folder, that is read as a whole and that it would be in.
    fn in_folder(&self) -> Option<(&Output, &Path)> {
        // What does not exist has no files, and is told of where it is opened.
        let real = |path: &Path| path.canonicalize().ok();
        let directory = |output: &Output| match output.path.parent() {
            Some(parent) if parent != Path::new("") => real(parent),
            _ => real(Path::new(".")),
        };
        self.folders.iter().find_map(|folder| {
            let place = real(folder)?;
            let mut outputs = self.outputs.iter();
            let found =
                outputs.find(|output| directory(output).is_some_and(|at| at.starts_with(&place)));
            found.map(|output| (output, folder.as_path()))
        })
    }

    /// Checks that every output is a file of its own, and not the image cache's.
    ///
    /// # Errors
    /// One is not; the sentence names both.
    pub fn check(&self) -> Result<(), UserError> {
        if let Some((output, folder)) = self.in_folder() {
            return Err(UserError::new(format!(
                "{output} would be among the files of {}, which the guest is served: name another place",
                folder.display()
            )));
        }
        let outputs: Vec<(&Output, FileIdentity)> = self
            .outputs
            .iter()
            .filter_map(|output| Some((output, FileIdentity::of(&output.path)?)))
            .collect();
        for input in &self.inputs {
            let place = FileIdentity::of(&input.path);
            if let Some((output, _)) = outputs.iter().find(|(_, at)| place.as_ref() == Some(at)) {
                return Err(UserError::new(format!(
                    "{output} would overwrite {input}: name another file"
                )));
            }
        }
        for (index, (one, at)) in outputs.iter().enumerate() {
            for (other, there) in &outputs[index + 1..] {
                if at == there {
                    return Err(UserError::new(format!(
                        "{one} and {other} would be one file: name two files"
                    )));
                }
                // Neither exists yet, so that both could be begun, and one would fail when it is
                // published, after the run.
                if at.is_below(there) || there.is_below(at) {
                    return Err(UserError::new(format!(
                        "{one} and {other} would be a file and its own directory: name another file"
                    )));
                }
            }
            if in_cache(&one.path) {
                return Err(UserError::new(format!(
                    "{one} would lie among the files of the image cache: name another place"
                )));
            }
        }
        Ok(())
    }
}

/// Returns whether the file is where only the image cache writes.
fn in_cache(path: &Path) -> bool {
    let Some(root) = Cache::open()
        .ok()
        .and_then(|cache| cache.root().canonicalize().ok())
    else {
        return false;
    };
    // The file may not exist yet, so that the nearest directory above it that does is looked at.
    let existing = path.ancestors().find_map(|path| path.canonicalize().ok());
    existing.is_some_and(|path| {
        CACHE_PARTS
            .iter()
            .any(|part| path.starts_with(root.join(part)))
    })
}

/// The place that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FileIdentity {
    /// A file that exists, by device and inode; or one below a directory that does, by the names
    /// from there on.
    File(u64, u64, Vec<OsString>),
    /// A block device, which may have any number of nodes.
    Device(u64),
}

impl FileIdentity {
    /// Returns what a path stands for; `None` for pipes, terminals and the like, which take any
    /// number of writers, and for what cannot be looked at: to open it will fail, with its own
    /// sentence.
    fn of(path: &Path) -> Option<Self> {
        /// The number of links that Linux follows (`MAXSYMLINKS` of include/linux/namei.h).
        const MOST_LINKS: u32 = 40;
        Self::through(path, MOST_LINKS)
    }

    fn through(path: &Path, links: u32) -> Option<Self> {
        // The parent of a name without a directory is the empty path.
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match std::fs::metadata(path) {
            Ok(found) => {
                let kind = found.file_type();
                if kind.is_block_device() {
                    return Some(Self::Device(found.rdev()));
                }
                (kind.is_file() || kind.is_dir())
                    .then(|| Self::File(found.dev(), found.ino(), Vec::new()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::missing(path, links)
            }
            Err(_) => None,
        }
    }

    /// Returns the place of a file that does not exist.
    fn missing(path: &Path, links: u32) -> Option<Self> {
        let parent = path.parent()?;
        // A link to a file that does not exist: writing would create what it names.
        if let Ok(target) = std::fs::read_link(path) {
            // A relative target starts at the link's directory, an absolute one replaces it. The
            // count ends a loop of links, which the kernel refuses to follow too.
            return Self::through(&parent.join(target), links.checked_sub(1)?);
        }
        match Self::through(parent, links)? {
            Self::File(device, inode, mut names) => {
                names.push(path.file_name()?.to_owned());
                Some(Self::File(device, inode, names))
            }
            Self::Device(_) => None,
        }
    }

    /// Returns whether this would be in a directory that is to be the file `other`.
    fn is_below(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(device, inode, names), Self::File(d, i, others)) => {
                (device, inode) == (d, i)
                    // An `other` that exists is a file or a directory already: to open one of the
                    // two fails then.
                    && !others.is_empty()
                    && names.len() > others.len()
                    && names.starts_with(others)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Arguments that name files to be read.
    const READ: [&str; 37] = [
        "boot --config",
        "boot --faults",
        "boot --kernel",
        "boot --initrd",
        "boot --dtb",
        "boot --disk",
        "boot --replay",
        "boot --rootfs-disk",
        "boot --snapshot",
        "boot --vmlinux",
        "inject plan",
        "inject --vmlinux",
        "lab run names",
        "lab run --kernel",
        "lab run --module",
        "inject --others",
        "inject merge journals",
        "lab run --vmlinux",
        "lab matrix names",
        "lab matrix --kernel",
        "lab matrix --vmlinux",
        "lab merge results",
        "snapshot save --config",
        "snapshot save --kernel",
        "snapshot save --initrd",
        "snapshot save --dtb",
        "snapshot save --disk",
        "snapshot save --rootfs-disk",
        "snapshot save --vmlinux",
        "boot --dma-script",
        "boot --net",
        "snapshot save --net",
        "snapshot save --dma-script",
        "snapshot restore file",
        "snapshot restore --disk",
        "snapshot restore --faults",
        "snapshot restore --vmlinux",
    ];
    /// Arguments that name files to be written.
    const WRITTEN: [&str; 25] = [
        "boot --console",
        "boot --json",
        "boot --record",
        "boot --timeline",
        "demo --report",
        "inject --journal",
        "inject --json",
        "inject --junit",
        "inject --report",
        "inject --timeline",
        "inject merge --journal",
        "inject merge --json",
        "inject merge --junit",
        "inject merge --report",
        "lab run --json",
        "lab run --junit",
        "lab run --report",
        "lab matrix --results",
        "snapshot save file",
        "snapshot save --console",
        "snapshot save --json",
        "snapshot save --timeline",
        "snapshot restore --console",
        "snapshot restore --json",
        "snapshot restore --record",
    ];
    /// The rest: commands that write nothing have nothing to compare.
    const OTHERS: [&str; 4] = [
        "snapshot restore --timeline",
        "snapshot describe file",
        "sandbox-check --disk",
        "sandbox-check --file",
    ];

    /// Returns every argument below `command` that names a file.
    fn arguments(command: &clap::Command, above: &str, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            let names = argument.get_value_names().unwrap_or_default();
            let says = |word: &str| names.iter().any(|name| name.contains(word));
            let parsed = argument.get_value_parser().type_id();
            if parsed == std::any::TypeId::of::<PathBuf>()
                || ["FILE", "DIR", ".toml"].into_iter().any(says)
                || argument.get_id() == "plan"
            {
                let name = argument.get_long().map(|long| format!("--{long}"));
                let name = name.unwrap_or_else(|| argument.get_id().to_string());
                found.push(format!("{above}{name}"));
            }
        }
        for inner in command.get_subcommands() {
            arguments(inner, &format!("{above}{} ", inner.get_name()), found);
        }
    }

    #[test]
    fn every_argument_that_names_a_file_is_known_here() {
        let mut found = Vec::new();
        let command = <crate::cli::Cli as clap::CommandFactory>::command();
        arguments(&command, "", &mut found);
        found.sort();
        let mut known = [&READ[..], &WRITTEN, &OTHERS].concat();
        known.sort_unstable();
        assert_eq!(
            found, known,
            "is it compared with the others, and in tests/cli/overwrite.rs and pipes.rs?"
        );
    }

    #[test]
    fn every_way_to_a_file_is_that_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("d", at("dlink")).unwrap();
        symlink("loop", at("loop")).unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        let same = [
            ("file", "link"),
            ("file", "hard"),
            ("file", "d/../file"),
            ("new", "d/../new"),
            ("d/new", "dlink/new"),
            ("nowhere", "dangling"),
            ("x/y/new", "d/../x/y/new"),
        ];
        for (one, other) in same {
            assert_eq!(
                FileIdentity::of(&at(one)),
                FileIdentity::of(&at(other)),
                "{one} {other}"
            );
        }
        for (one, other) in [("file", "new"), ("d/new", "new"), ("x/a", "x/b")] {
            assert_ne!(
                FileIdentity::of(&at(one)),
                FileIdentity::of(&at(other)),
                "{one} {other}"
            );
        }
        assert_eq!(FileIdentity::of(&at("loop")), None);
        assert_eq!(FileIdentity::of(Path::new("/dev/null")), None);
        let below = FileIdentity::of(&at("x/y/z")).unwrap();
        assert!(below.is_below(&FileIdentity::of(&at("x")).unwrap()));
        assert!(!below.is_below(&FileIdentity::of(directory.path()).unwrap()));
    }

    #[test]
    fn sentences_name_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("disk"), "x").unwrap();
        let mut files = Files::default();
        files.input("disk", &at("disk"));
        files.output("--json", Some(&at("json")));
        files.check().unwrap();
        files.output("--console", Some(&at("./json")));
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("name two files"), "{error}");
        let mut files = Files::default();
        files.input("disk", &at("disk"));
        files.output("--json", Some(&at("./disk")));
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("would overwrite the disk"), "{error}");
        let mut files = Files::default();
        files.output("--json", Some(&at("report")));
        files.reports("--report", &at("report"), ["one"]);
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("its own directory"), "{error}");
        fs::create_dir(at("served")).unwrap();
        let mut files = Files::default();
        files.folders([&at("served")]);
        files.output("--json", Some(&at("json")));
        files.check().unwrap();
        files.output("--record", Some(&at("served/run.rec")));
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("the guest is served"), "{error}");
    }
}
