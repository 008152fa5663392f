//! The files that a machine is made from: which they are, what they held, and where they are now.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use guest_images::{Cache, catalog, hash_file};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::error::Error;
use super::parts::virtio::net;
use super::sections::ReadError;

/// A file that a machine was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it was, as an absolute path.
    pub path: PathBuf,
    /// SHA-256 of what it held at first, in hexadecimal digits.
    pub sha256: String,
    /// The guest image that it is a part of, if it came from the image cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl Source {
    /// Returns the file at `path`, as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: std::path::absolute(path)?,
            sha256: hash_file(path).map_err(io::Error::other)?,
            image: None,
        })
    }

    /// Returns the same, with the name of `image` if the file is stored in this user's image cache.
    fn with_image(path: &Path, image: Option<&str>) -> io::Result<Self> {
        let mut source = Self::of(path)?;
        let stored = || Cache::open().ok()?.file(&source.sha256);
        // A copy that lies elsewhere is the user's own file, to be found where it was.
        source.image = image
            .filter(|_| stored().is_some_and(|stored| stored == source.path))
            .map(str::to_owned);
        Ok(source)
    }
}

/// The role of a file in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The kernel.
    Kernel,
    /// The initial RAM file system.
    Initrd,
    /// The device tree.
    Tree,
    /// The disk of this number.
    Disk(usize),
    /// The snapshot that a run goes on from.
    Snapshot,
}

impl Role {
    /// Returns how a user says where the file is now.
    pub fn flag(self) -> String {
        match self {
            Self::Kernel => "--kernel FILE".into(),
            Self::Initrd => "--initrd FILE".into(),
            Self::Tree => "--dtb FILE".into(),
            Self::Disk(number) => format!("--disk disk{number}=FILE"),
            Self::Snapshot => "--snapshot FILE".into(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Initrd => f.write_str("initial file system"),
            Self::Tree => f.write_str("device tree"),
            Self::Disk(number) => write!(f, "disk{number}"),
            Self::Snapshot => f.write_str("snapshot"),
        }
    }
}

/// The present places of files that a snapshot or a recording names elsewhere. What a file is, its
/// SHA-256 says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The kernel.
    pub kernel: Option<PathBuf>,
    /// The initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// The device tree.
    pub dtb: Option<PathBuf>,
    /// Disks, by their number.
    pub disks: BTreeMap<usize, PathBuf>,
    /// The snapshot that a recorded run went on from.
    pub snapshot: Option<PathBuf>,
}

impl Moved {
    fn place(&self, role: Role) -> Option<&PathBuf> {
        match role {
            Role::Kernel => self.kernel.as_ref(),
            Role::Initrd => self.initrd.as_ref(),
            Role::Tree => self.dtb.as_ref(),
            Role::Disk(number) => self.disks.get(&number),
            Role::Snapshot => self.snapshot.as_ref(),
        }
    }

    /// Refuses places for files that the machine of `config` has not.
    ///
    /// # Errors
    /// It names such a file.
    pub fn check(&self, config: &Config) -> Result<(), ReadError> {
        let have = config.disks.len();
        let disk = self.disks.keys().find(|number| **number >= have);
        if let Some(number) = disk {
            return Err(ReadError::NoFile(Role::Disk(*number)));
        }
        if self.initrd.is_some() && config.initrd.is_none() {
            return Err(ReadError::NoFile(Role::Initrd));
        }
        if self.dtb.is_some() && config.dtb.is_none() {
            return Err(ReadError::NoFile(Role::Tree));
        }
        Ok(())
    }

    /// Returns where the file `source` is now: where the user says, where it was, or, for a part of
    /// a guest image, in this user's image cache.
    ///
    /// # Errors
    /// It is nowhere, or another one.
    pub fn find(&self, role: Role, source: &Source) -> Result<PathBuf, ReadError> {
        // A wrong file that the user names is an error, even if the right one could be found.
        if let Some(path) = self.place(role) {
            let found = hash(path, role)?;
            return if found == source.sha256 {
                std::path::absolute(path).map_err(ReadError::Io)
            } else {
                Err(ReadError::Other(path.clone(), role))
            };
        }
        // Its failure is not final: the file of an image may be in the cache instead.
        let found = hash(&source.path, role);
        if found.as_ref().is_ok_and(|sha256| *sha256 == source.sha256) {
            return Ok(source.path.clone());
        }
        match &source.image {
            Some(image) => in_cache(role, image, &source.sha256),
            // Why it could not be read says more than that it is another one.
            None => found.and(Err(ReadError::Changed(source.path.clone(), role))),
        }
    }
}

fn hash(path: &Path, role: Role) -> Result<String, ReadError> {
    let needed = |why: String| ReadError::Needed {
        path: path.to_owned(),
        why,
        role,
    };
    // To open a named pipe would wait for its other end.
    let kind = path.metadata().map_err(|error| needed(error.to_string()))?;
    let kind = kind.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(needed("it is neither a file nor a block device".into()));
    }
    hash_file(path).map_err(|error| needed(reason(&error)))
}

/// Returns the host's reason, without the path, which the sentence has already.
fn reason(error: &guest_images::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Returns the file of this content in the image cache.
fn in_cache(role: Role, image: &str, sha256: &str) -> Result<PathBuf, ReadError> {
    let missing = |cache: String, advice: String| ReadError::NotInCache {
        role,
        image: image.to_owned(),
        cache,
        advice,
    };
    let copy = format!("name a copy of it by {}", role.flag());
    let Ok(cache) = Cache::open() else {
        return Err(missing("there is none".into(), copy));
    };
    if let Some(path) = cache.file(sha256) {
        return Ok(path);
    }
    let root = cache.root().display().to_string();
    let spec = catalog::find(image);
    let advice = match (cache.image(image), spec) {
        // Obtaining it again would not help: the cache is content with what it has.
        (Ok(Some(_)), _) => format!("the image there is another build of it, so {copy}"),
        (_, Ok(spec)) => {
            let how = if spec.needs_build() { "build" } else { "fetch" };
            format!("obtain it by vmm images {how} {image}, or {copy}")
        }
        _ => copy,
    };
    Err(missing(root, advice))
}

impl Config {
    /// Returns the same machine, with paths that are found from any directory. A link or `..` in a
    /// path stays what it is.
    ///
    /// # Errors
    /// There is no current directory.
    pub fn absolute(&self) -> io::Result<Self> {
        let mut config = self.clone();
        for (_, path) in config.files_mut() {
            *path = std::path::absolute(&*path)?;
        }
        for folder in config.nets.iter_mut().filter_map(|net| net.folder.as_mut()) {
            *folder = std::path::absolute(&*folder)?;
        }
        Ok(config)
    }

    /// Returns the same machine, with what the folders hold that are served in it: with others it
    /// cannot be made.
    ///
    /// # Errors
    /// A folder cannot be served.
    pub(super) fn with_folders(&self) -> Result<Self, Error> {
        let mut config = self.clone();
        for net in &mut config.nets {
            if let (Some(folder), None) = (&net.folder, &net.folder_sha256) {
                net.folder_sha256 = Some(net::read(folder)?.sha256());
            }
        }
        Ok(config)
    }

    /// Returns the files that the machine is made from, and what each is to it.
    pub fn files(&self) -> impl Iterator<Item = (Role, &Path)> {
        let disks = self.disks.iter().enumerate();
        let disks = disks.map(|(number, disk)| (Role::Disk(number), disk.path.as_path()));
        let initrd = self.initrd.as_deref().map(|path| (Role::Initrd, path));
        let tree = self.dtb.as_deref().map(|path| (Role::Tree, path));
        // Recordings list the files in this order.
        std::iter::once((Role::Kernel, self.kernel.as_path()))
            .chain(initrd)
            .chain(tree)
            .chain(disks)
    }

    /// Returns the same, to be set.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = (Role, &mut PathBuf)> {
        let disks = self.disks.iter_mut().enumerate();
        let disks = disks.map(|(number, disk)| (Role::Disk(number), &mut disk.path));
        let initrd = self.initrd.as_mut().map(|path| (Role::Initrd, path));
        let tree = self.dtb.as_mut().map(|path| (Role::Tree, path));
        // In the order of `files`: a replay pairs these paths with the files of its recording.
        std::iter::once((Role::Kernel, &mut self.kernel))
            .chain(initrd)
            .chain(tree)
            .chain(disks)
    }

    /// Returns what the files hold now. A file that cannot be read is left out.
    pub(super) fn sources(&self) -> Vec<Source> {
        let image = self.image.as_deref();
        self.files()
            .filter_map(|(_, path)| Source::with_image(path, image).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskConfig;

    fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_is_found_where_it_was_or_where_it_is_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let old = file(directory.path(), "old", "a");
        let new = file(directory.path(), "new", "a");
        let other = file(directory.path(), "other", "b");
        let source = Source::of(&old).unwrap();
        let at = |path: &PathBuf| Moved {
            disks: [(1, path.clone())].into(),
            ..Moved::default()
        };
        let role = Role::Disk(1);
        let nowhere = Moved::default();
        assert_eq!(nowhere.find(role, &source).unwrap(), old);
        std::fs::write(&old, "c").unwrap();
        let error = nowhere.find(role, &source).unwrap_err().to_string();
        assert!(
            error.contains("has changed") && error.contains("--disk disk1=FILE"),
            "{error}"
        );
        std::fs::remove_file(&old).unwrap();
        let error = nowhere.find(role, &source).unwrap_err().to_string();
        assert!(
            error.contains("cannot open") && error.contains("--disk disk1=FILE"),
            "{error}"
        );
        assert_eq!(at(&new).find(role, &source).unwrap(), new);
        let error = at(&other).find(role, &source).unwrap_err().to_string();
        assert!(error.contains("is not the disk1"), "{error}");
    }

    #[test]
    fn a_place_for_a_file_that_is_not_needed_is_a_mistake() {
        let config = Config {
            kernel: "k".into(),
            disks: vec![DiskConfig::new("d")],
            ..Config::default()
        };
        let moved = |disk| Moved {
            disks: [(disk, "x".into())].into(),
            ..Moved::default()
        };
        moved(0).check(&config).unwrap();
        let error = moved(1).check(&config).unwrap_err().to_string();
        assert!(error.contains("has no disk1"), "{error}");
        let initrd = Moved {
            initrd: Some("x".into()),
            ..Moved::default()
        };
        assert!(initrd.check(&config).is_err());
    }

    #[test]
    fn absolute_paths_keep_their_links() {
        let config = Config {
            kernel: "a/../k".into(),
            initrd: Some("/r".into()),
            disks: vec![DiskConfig::new("d")],
            ..Config::default()
        };
        let here = std::env::current_dir().unwrap();
        let paths: Vec<PathBuf> = config
            .absolute()
            .unwrap()
            .files()
            .map(|(_, path)| path.to_owned())
            .collect();
        assert_eq!(paths, [here.join("a/../k"), "/r".into(), here.join("d")]);
    }
}
