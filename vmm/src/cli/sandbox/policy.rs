//! What a command's machines need of the host's files.

use std::path::{Path, PathBuf};

use guest_images::Cache;
use vmm::Config;

use super::super::UserError;

/// The files that a process may open from now on, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Files to read, and directories with all in them.
    pub(super) read: Vec<PathBuf>,
    /// Files to read and write.
    pub(super) write: Vec<PathBuf>,
    /// Directories in which files appear.
    pub(super) places: Vec<PathBuf>,
    /// The TCP ports that may be listened at.
    pub(super) ports: Vec<u16>,
    /// Whether TCP connections may be made to anywhere.
    pub(super) connects: bool,
}

impl Policy {
    /// Creates the policy for guests of images: what these consist of, and temporary files for
    /// their disks.
    ///
    /// # Errors
    /// There is no place for images.
    pub fn of_images() -> Result<Self, UserError> {
        let mut policy = Self::default();
        policy.read(Cache::open()?.root());
        policy.temporary();
        Ok(policy)
    }

    /// Lets a file, or a directory with all in it, be read.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.read.push(path.into());
    }

    /// Lets a file be read and written.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        self.write.push(path.into());
    }

    /// Lets a file appear at `path`, and others in its directory.
    pub fn output(&mut self, path: Option<&Path>) {
        let Some(path) = path else {
            return;
        };
        // Through a symbolic link, the file is elsewhere.
        let target = path.canonicalize();
        if target.as_ref().is_ok_and(|target| !target.is_file()) {
            // A device or pipe, which is written as it is.
            self.write.push(path.into());
            return;
        }
        let parent = target.as_deref().unwrap_or(path).parent();
        let named = parent.filter(|parent| !parent.as_os_str().is_empty());
        // The directory and not the file: a file appears under another name first, and is moved.
        self.places.push(named.unwrap_or(Path::new(".")).into());
    }

    /// Lets files appear, change and go in a directory.
    pub fn directory(&mut self, path: &Path) {
        self.places.push(path.into());
    }

    /// Lets temporary files come and go.
    pub fn temporary(&mut self) {
        self.places.push(std::env::temp_dir());
    }

    /// Lets a TCP port be listened at; port 0 is any that is free.
    pub fn listen(&mut self, port: Option<u16>) {
        self.ports.extend(port);
    }

    /// Lets the machine of `config` have its files.
    pub fn machine(&mut self, config: &Config) {
        self.read(&config.kernel);
        self.read.extend(config.initrd.clone());
        self.read.extend(config.dtb.clone());
        let folders = config.nets.iter().filter_map(|net| net.folder.clone());
        self.read.extend(folders);
        if config.has_user_network() {
            self.connects = true;
            // For the host's name server.
            self.read.push("/etc/resolv.conf".into());
            let forwards = config.nets.iter().flat_map(|net| &net.hostfwd);
            self.ports
                .extend(forwards.map(|forward| forward.host.port()));
        }
        for disk in &config.disks {
            if disk.overlay {
                // What is written beyond what memory is to take goes there.
                self.temporary();
            }
            if disk.read_only || disk.overlay {
                self.read(&disk.path);
            } else {
                self.write(&disk.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm::DiskConfig;

    #[test]
    fn a_machine_may_write_what_its_guest_may() {
        let disk = |path: &str, read_only, overlay| DiskConfig {
            read_only,
            overlay,
            ..DiskConfig::new(path)
        };
        let config = Config {
            kernel: "k".into(),
            initrd: Some("i".into()),
            disks: vec![
                disk("a", false, false),
                disk("b", true, false),
                disk("c", false, true),
            ],
            ..Config::default()
        };
        let mut policy = Policy::default();
        policy.machine(&config);
        assert_eq!(policy.write, [PathBuf::from("a")]);
        assert_eq!(policy.read, ["k", "i", "b", "c"].map(PathBuf::from));
        assert_eq!(policy.places, [std::env::temp_dir()]);
    }

    #[test]
    fn an_output_needs_its_directory_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("file"), "").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(inner.join("file"), &link).unwrap();
        let mut policy = Policy::default();
        policy.output(None);
        policy.output(Some(&link));
        policy.output(Some(Path::new("name")));
        let inner = inner.canonicalize().unwrap();
        assert_eq!(policy.places, [inner, PathBuf::from(".")]);
    }
}
