//! Files that appear whole or not at all, whatever ends their writer.
//!
//! While it is written a file has no name (`O_TMPFILE`, open(2)) where the file system can do that,
//! so that a killed program leaves nothing. Elsewhere it has a name beside its place, which says
//! that it is one of these, and a lock (flock(2)) as long as its writer lives; what dead writers
//! have left in a directory is removed when the next file is begun there.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The beginning of an unfinished file's name.
const PREFIX: &str = ".vmm-";
/// One of the parts that the end of such a name is hashed from, which keeps it apart from other
/// hashes.
const DOMAIN: &str = "viommu: unfinished file";
/// The number of other names that are tried.
const TRIES: u32 = 64;

/// A file that is being written. Until [`AtomicFile::publish`] nothing is at its place, or what was
/// there before; when it is dropped before, that stays.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    target: PathBuf,
    /// Its name while it is unfinished, if it has one.
    name: Option<PathBuf>,
}

impl AtomicFile {
    /// Begins a file that is to be at `path`, or, if a symbolic link is there, at what that names.
    /// What dead writers have left in the directory is removed.
    ///
    /// # Errors
    /// The host refuses, or a file is there that may not be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::begin(path, true)
    }

    /// Begins a file as [`AtomicFile::create`] does; without a name if `unnamed`, and if the host
    /// can do that.
    fn begin(path: &Path, unnamed: bool) -> io::Result<Self> {
        let target = target(path);
        if fs::metadata(&target).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let why = "there is a pipe, socket or device in the place of the file";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        // `append` truncates nothing, and O_NONBLOCK does not wait if somebody has put a pipe there
        // meanwhile.
        match OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&target)
        {
            // The move would replace a file that may not be written.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let directory = directory(&target);
        clean_up(directory);
        let nameless = if unnamed {
            open_unnamed(directory)?
        } else {
            None
        };
        let (file, name) = match nameless {
            Some(file) => (file, None),
            None => {
                let (file, name) = open_named(directory)?;
                (file, Some(name))
            }
        };
        Ok(Self { file, target, name })
    }

    /// Returns whether the file has no name until it is published, so that nothing is left of it if
    /// this process is killed.
    pub fn is_unnamed(&self) -> bool {
        self.name.is_none()
    }

    /// Makes the file appear with what was written so far; what is written later is appended to it.
    ///
    /// # Errors
    /// The host refuses; what was there before stays.
    pub fn publish(mut self) -> io::Result<File> {
        let file = self.file.try_clone()?;
        if self.name.is_none() {
            match self.link(&self.target) {
                Ok(()) => return Ok(file),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            // A link replaces nothing: it gets a name that can be moved.
            // Locked before it has the name, so that no clean-up takes it for a dead writer's.
            lock(&self.file)?;
            self.name = Some(self.link_beside()?);
        }
        if let Some(name) = &self.name {
            fs::rename(name, &self.target)?;
        }
        // Nothing for `drop` to remove any more.
        self.name = None;
        // Others may want to lock the file at its place.
        let _ = flock(&file, FlockOperation::Unlock);
        Ok(file)
    }

    /// Publishes as [`AtomicFile::publish`] does, with what was written safe on the disk before the
    /// file appears, and its name after.
    ///
    /// # Errors
    /// As [`AtomicFile::publish`].
    pub fn publish_durably(self) -> io::Result<()> {
        // The contents reach the disk before the name does, or a power failure could leave the name
        // with nothing behind it.
        self.file.sync_all()?;
        let directory = File::open(directory(&self.target))?;
        self.publish()?;
        directory.sync_all()
    }

    fn link(&self, to: &Path) -> rustix::io::Result<()> {
        // Through /proc, as linkat(2) with AT_EMPTY_PATH takes a capability (CAP_DAC_READ_SEARCH).
        linkat(
            CWD,
            descriptor(&self.file),
            CWD,
            to,
            AtFlags::SYMLINK_FOLLOW,
        )
    }

    fn link_beside(&self) -> io::Result<PathBuf> {
        for _ in 0..TRIES {
            let name = directory(&self.target).join(unfinished_name());
            match self.link(&name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // A failure is ignored: the next writer in this directory removes it then.
            let _ = fs::remove_file(name);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns what went wrong with a file, in words for its user, and without the name of a temporary
/// file that `tempfile` adds: the user named another one.
pub fn reason(error: &io::Error) -> String {
    if error.raw_os_error() == Some(libc::EFBIG) {
        return "the file may not grow beyond the limit on the size of files (see ulimit -f)"
            .into();
    }
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// Returns where the file really is: through symbolic links, which stay as they are, also one to a
/// file that does not exist yet.
pub fn target(path: &Path) -> PathBuf {
    /// The number of links that Linux follows (`MAXSYMLINKS` of include/linux/namei.h).
    const MOST_LINKS: u32 = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(whole) = path.canonicalize() {
            return whole;
        }
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        // `canonicalize` fails at a link to a file that does not exist yet, hence one link at a
        // time.
        path = directory(&path).join(link);
    }
    let parent = directory(&path).canonicalize();
    match (parent, path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent();
    let named = parent.filter(|parent| !parent.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// Returns the path by which this process can link a file that has no name.
fn descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Opens a file without a name; `None` where the host has no such files, or no way to give them
/// names.
fn open_unnamed(directory: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(CWD, directory, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => {
            let file = File::from(file);
            // Without /proc it could never be given a name.
            let reachable = fs::symlink_metadata(descriptor(&file)).is_ok();
            Ok(reachable.then_some(file))
        }
        // What file systems return that have no such files, and kernels that do not know the flag.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Creates a locked file with a name that tells that it is unfinished.
fn open_named(directory: &Path) -> io::Result<(File, PathBuf)> {
    for _ in 0..TRIES {
        let name = directory.join(unfinished_name());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            // It will be the published file, so its mode is what the umask leaves, and not 0600.
            .mode(0o666)
            .open(&name);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        lock(&file)?;
        // Another program's clean-up may have come between creation and lock, and removed it as a
        // dead writer's.
        if file.metadata()?.nlink() > 0 {
            return Ok((file, name));
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Locks a file. On file systems without locks it stays unlocked, and clean-up, which needs the
/// lock, removes nothing.
fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL) => {
                return Ok(());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns a name that nobody has yet.
fn unfinished_name() -> String {
    // Each `RandomState` has keys of its own, so what hashing nothing yields is random.
    let number = format!("{:016x}", RandomState::new().build_hasher().finish());
    format!("{PREFIX}{number}-{}", proof(&number))
}

/// Returns what follows `number` in the names that this program gives on this host. Hosts that
/// share a network file system do not see each other's locks, so each takes only its own names for
/// unfinished files.
fn proof(number: &str) -> String {
    let host = rustix::system::uname();
    let mut hash = Sha256::new();
    for part in [
        DOMAIN.as_bytes(),
        host.nodename().to_bytes(),
        number.as_bytes(),
    ] {
        // The length in front of each part keeps two different lists of parts from having the same
        // bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())[..16].to_owned()
}

/// Returns whether `name` is one that this program gives to unfinished files on this host.
fn is_unfinished(name: &str) -> bool {
    let parts = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(number, end)| number.len() == 16 && end == proof(number))
}

/// Removes what dead writers have left in the directory. What cannot be removed stays.
fn clean_up(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_unfinished) {
            // A file that cannot be removed, or whose writer lives, stays; it is no reason not to
            // write another.
            let _ = remove_if_dead(&entry.path());
        }
    }
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    // Opened for writing, as an exclusive lock on NFS needs that (flock(2)). A link or a pipe under
    // such a name is somebody else's.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let (found, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    // Between the two calls somebody may have put another file in the place of the name.
    if !found.is_file() || (found.dev(), found.ino()) != (named.dev(), named.ino()) {
        return Ok(());
    }
    // A writer holds the lock as long as it lives.
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn appears_whole_or_not_at_all_with_and_without_a_name() {
        for unnamed in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("out");
            let begin = || AtomicFile::begin(&path, unnamed).unwrap();
            let mut file = begin();
            file.write_all(b"half").unwrap();
            assert_eq!(
                file.name.is_none(),
                unnamed,
                "does {directory:?} have O_TMPFILE?"
            );
            drop(file);
            assert!(names(directory.path()).is_empty());
            // First where nothing is, then in place of what is there.
            for text in ["new", "newer"] {
                let before = fs::read(&path).ok();
                let mut file = begin();
                file.write_all(&text.as_bytes()[..2]).unwrap();
                assert_eq!(fs::read(&path).ok(), before);
                let mut file = file.publish().unwrap();
                file.write_all(&text.as_bytes()[2..]).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
                assert_eq!(names(directory.path()), ["out"]);
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o600, 0o600);
            }
            let mut file = begin();
            file.write_all(b"safe").unwrap();
            file.publish_durably().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"safe");
        }
    }

    #[test]
    fn what_a_dead_writer_left_goes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let alive = AtomicFile::begin(&at("a"), false).unwrap();
        let dead = AtomicFile::begin(&at("b"), false).unwrap();
        let left = dead.name.clone().unwrap();
        // A kill closes the file and removes nothing.
        let copy = dead.file.try_clone().unwrap();
        std::mem::forget(dead);
        drop(copy);
        let strangers = [".vmm-x", ".vmm-0123456789abcdef-0123456789abcdef", ".tmp"];
        for name in strangers {
            fs::write(at(name), "theirs").unwrap();
        }
        symlink(".tmp", at(&unfinished_name())).unwrap();
        let locked = left.clone();
        drop(AtomicFile::create(&at("c")).unwrap());
        assert!(locked.exists(), "a forgotten file holds its lock");
        // Its lock goes with its last descriptor.
        let stale = directory.path().join(unfinished_name());
        fs::write(&stale, "x").unwrap();
        drop(AtomicFile::create(&at("c")).unwrap());
        assert!(!stale.exists());
        assert!(alive.name.as_ref().unwrap().exists());
        assert!(strangers.iter().all(|name| at(name).exists()));
        alive.publish().unwrap();
        assert!(at("a").exists());
    }

    #[test]
    fn links_stay_links() {
        for unnamed in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name);
            symlink("new", at("link")).unwrap();
            for text in ["one", "two"] {
                let mut file = AtomicFile::begin(&at("link"), unnamed).unwrap();
                file.write_all(text.as_bytes()).unwrap();
                file.publish().unwrap();
                assert!(at("link").is_symlink());
                assert_eq!(fs::read_to_string(at("new")).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_limit_on_files_is_told_as_one() {
        let error = io::Error::from_raw_os_error(libc::EFBIG);
        assert!(
            reason(&error).contains("may not grow"),
            "{}",
            reason(&error)
        );
        let error = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(reason(&error).contains("No space left"));
    }
}
