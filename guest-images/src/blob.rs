//! Files stored under the SHA-256 of their content, written once and never changed.

use crate::Error;
use crate::error::IoContext;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A stored file, as a manifest remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// SHA-256 of the content in lower-case hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification when it was stored, in nanoseconds since 1970. Together with the
    /// size it tells cheaply that the file has not been touched since.
    pub modified: i128,
}

/// The store: `sha256/ab/abcdef...` below its root.
#[derive(Clone, Debug)]
pub(crate) struct BlobStore {
    root: PathBuf,
}

impl BlobStore {
    /// Returns the store below `root`, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns where the content with that hash is or would be. A text that is no SHA-256 names a
    /// place that never exists.
    pub fn path(&self, sha256: &str) -> PathBuf {
        // Hashes come from manifests, which are files like any other: none may lead out of the
        // store, and the slice below needs two ASCII characters.
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return self.root.join("invalid");
        }
        self.root.join("sha256").join(&sha256[..2]).join(sha256)
    }

    /// Moves a file of the same file system into the store, safely against a crash at any moment.
    ///
    /// # Errors
    /// The file cannot be read or moved, or the store cannot be written.
    pub fn adopt(&self, file: &Path) -> Result<Blob, Error> {
        let sha256 = hash_file(file)?;
        let path = self.path(&sha256);
        if let Some(blob) = self.checked(&sha256) {
            fs::remove_file(file).at("removed", file)?;
            return Ok(blob);
        }
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).at("created", parent)?;
        // Content, then name, then directory: after a crash no name stands for bytes that are not
        // there.
        fs::set_permissions(file, Permissions::from_mode(0o444)).at("made read-only", file)?;
        File::open(file)
            .and_then(|file| file.sync_all())
            .at("written", file)?;
        fs::rename(file, &path).at("written", &path)?;
        sync_directory(parent)?;
        describe(&path, sha256)
    }

    /// Stores bytes; `scratch` is a directory of the same file system that belongs to the caller
    /// alone.
    ///
    /// # Errors
    /// `scratch` or the store cannot be written.
    pub fn put(&self, bytes: &[u8], scratch: &Path) -> Result<Blob, Error> {
        let path = scratch.join("blob");
        File::create(&path)
            .and_then(|mut file| file.write_all(bytes))
            .at("written", &path)?;
        self.adopt(&path)
    }

    /// Returns the stored content with that hash, if it is there and its bytes really have it.
    pub fn checked(&self, sha256: &str) -> Option<Blob> {
        let path = self.path(sha256);
        (path.is_file() && hash_file(&path).ok()? == sha256)
            .then(|| describe(&path, sha256.to_owned()).ok())?
    }

    /// Reads every byte of a remembered file and compares the hash. A damaged file is removed, so
    /// that it is obtained again.
    ///
    /// # Errors
    /// [`Error::Damaged`], for the image or disk of that name.
    pub fn verify(&self, blob: &Blob, of: &str) -> Result<(), Error> {
        let path = self.path(&blob.sha256);
        if path.is_file() && hash_file(&path)? == blob.sha256 {
            return Ok(());
        }
        if path.exists() {
            fs::remove_file(&path).at("removed", &path)?;
        }
        Err(Error::Damaged {
            image: of.to_owned(),
            path,
        })
    }

    /// Returns whether a remembered file is still there. Cheap when its size and time are as
    /// remembered; else its bytes decide.
    pub fn is_intact(&self, blob: &Blob) -> bool {
        let path = self.path(&blob.sha256);
        match describe(&path, blob.sha256.clone()) {
            Ok(now) if now == *blob => true,
            // Touched or copied since: only its bytes can tell.
            Ok(now) if now.size == blob.size => self.checked(&blob.sha256).is_some(),
            _ => false,
        }
    }
}

/// Returns a stored file's size and time.
fn describe(path: &Path, sha256: String) -> Result<Blob, Error> {
    let metadata = fs::metadata(path).at("read", path)?;
    let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok(Blob {
        sha256,
        size: metadata.len(),
        modified,
    })
}

/// Returns the SHA-256 of a file's content in lower-case hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).at("read", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).at("read", path)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Returns the SHA-256 of bytes in lower-case hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Returns the SHA-256 of texts in lower-case hexadecimal, each text kept apart from the next.
pub(crate) fn hash_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        // The length first, or `ab`, `c` and `a`, `bc` would have one hash.
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    format!("{:x}", hasher.finalize())
}

/// Writes a small file of JSON as [`write_atomically`] does.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::io("written", path, io::Error::other(error)))?;
    text.push(b'\n');
    write_atomically(path, &text)
}

/// Writes a small file so that a reader, and a crash at any moment, sees the old content or the
/// new, never a mixture.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).at("created", parent)?;
    // Readable by all, as other files are: a cache may be shared.
    let mode = Permissions::from_mode(0o644);
    let file = tempfile::Builder::new()
        .permissions(mode)
        .tempfile_in(parent);
    let mut file = file.at("written", path)?;
    file.write_all(bytes)
        // Before it has its name, which must not survive a crash without the content.
        .and_then(|()| file.as_file().sync_all())
        .at("written", path)?;
    file.persist(path)
        .map_err(|error| Error::io("written", path, error.error))?;
    sync_directory(parent)
}

/// Makes the names in a directory survive a crash.
fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .at("written", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    /// Overwrites a stored file, which takes making it writable first.
    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn stored_under_the_hash_of_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::new(dir.path().join("blobs"));
        let blob = store.put(b"abc", dir.path()).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            blob.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(fs::read(store.path(&blob.sha256)).unwrap(), b"abc");
        assert!(store.is_intact(&blob));
        assert_eq!(
            store.put(b"abc", dir.path()).unwrap(),
            blob,
            "the same content is stored once"
        );
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::new(dir.path().join("blobs"));
        let blob = store.put(b"abc", dir.path()).unwrap();
        let path = store.path(&blob.sha256);
        overwrite(&path, b"abd");
        File::open(&path)
            .unwrap()
            .set_times(
                FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            )
            .unwrap();
        assert!(!store.is_intact(&blob), "same size, other time and content");
        overwrite(&path, b"ab");
        assert!(!store.is_intact(&blob), "other size");
        assert_eq!(store.put(b"abc", dir.path()).unwrap().sha256, blob.sha256);
        assert_eq!(
            fs::read(&path).unwrap(),
            b"abc",
            "storing it again replaces the damaged file"
        );
        fs::remove_file(&path).unwrap();
        assert!(!store.is_intact(&blob), "missing");
    }

    #[test]
    fn touched_but_unchanged_is_intact() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::new(dir.path().join("blobs"));
        let blob = store.put(b"abc", dir.path()).unwrap();
        File::open(store.path(&blob.sha256))
            .unwrap()
            .set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
            .unwrap();
        assert!(store.is_intact(&blob));
    }

    #[test]
    fn a_hash_from_a_damaged_manifest_cannot_leave_the_store() {
        let store = BlobStore::new("/blobs".into());
        for hash in ["", "../../etc/passwd", "é", &"/".repeat(64)] {
            assert_eq!(store.path(hash), Path::new("/blobs/invalid"), "{hash}");
        }
    }

    #[test]
    fn texts_are_kept_apart() {
        assert_ne!(hash_texts(["ab", "c"]), hash_texts(["a", "bc"]));
    }
}
