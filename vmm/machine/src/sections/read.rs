//! Reads sections. Whatever the bytes are, the answer is their contents or a sentence, and nothing
//! is allocated that the file does not hold.

use std::io::{self, Read};
use std::path::PathBuf;

use crc32fast::Hasher;
use vmm_files::atomic_file::reason;

use super::{END, Form};
use crate::sources::Role;

/// The reason for which a file is of no use: sentences that go on where one about the file has
/// begun.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The host's.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not a {0}")]
    Foreign(&'static str),
    /// It was written by another version of this program.
    #[error(
        "it has version {found} of the form of a {name}, but this program reads version {expected} only"
    )]
    Version {
        /// What it is.
        name: &'static str,
        /// Its version.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// It ends before its end.
    #[error("it is not whole: it ends too early")]
    Truncated,
    /// What it holds is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// What it holds is what was written, and means nothing here: a device, say, that there is in a
    /// later version.
    #[error("its {part} is of another version of this program: {why}")]
    Unknown {
        /// The part of it.
        part: &'static str,
        /// What is not known.
        why: String,
    },
    /// What it holds is whole, and is no machine.
    #[error("it describes no machine that can be: {0}")]
    Impossible(String),
    /// A file that it needs cannot be read.
    #[error(
        "cannot open {path}, which it needs: {why}; if the file is elsewhere now, name its place by {flag}",
        path = path.display(), flag = role.flag()
    )]
    Needed {
        /// Its name.
        path: PathBuf,
        /// Why.
        why: String,
        /// What it is.
        role: Role,
    },
    /// A file that it needs is another one than it was.
    #[error(
        "{path}, which it needs, has changed since it was made; if there is a copy, name it by {flag}",
        path = .0.display(), flag = .1.flag()
    )]
    Changed(PathBuf, Role),
    /// A file that was named in place of one that it needs is another one.
    #[error("{path} is not the {1} that it needs: its SHA-256 is another one", path = .0.display())]
    Other(PathBuf, Role),
    /// A place was named of a file that it does not have.
    #[error("its machine has no {0}")]
    NoFile(Role),
    /// A part of a guest image that it needs is not in the cache.
    #[error(
        "the {role} of the image {image}, which it needs, is not in the image cache ({cache}): {advice}"
    )]
    NotInCache {
        /// What it is.
        role: Role,
        /// The image.
        image: String,
        /// The cache's directory.
        cache: String,
        /// How to have it.
        advice: String,
    },
}

impl ReadError {
    /// Creates the error of a damaged file.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// A file that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    form: &'static Form,
    input: R,
    count: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the file's first bytes.
    ///
    /// # Errors
    /// It is no such file.
    pub fn new(form: &'static Form, mut input: R) -> Result<Self, ReadError> {
        let mut magic = [0; 16];
        let read = fill(&mut input, &mut magic)?;
        // A file that ends within its first bytes was cut short, and is not of another form.
        if magic[..read] != form.magic[..read] || read == 0 {
            return Err(ReadError::Foreign(form.name));
        }
        let found = u32::from_le_bytes(exactly(&mut input)?);
        if found != form.version {
            return Err(ReadError::Version {
                name: form.name,
                found,
                expected: form.version,
            });
        }
        Ok(Self {
            form,
            input,
            count: 0,
        })
    }

    /// Returns the next section: its kind and its contents; `None` after the last one.
    ///
    /// # Errors
    /// The file is damaged or not whole.
    pub fn section(&mut self) -> Result<Option<(u32, Vec<u8>)>, ReadError> {
        // Only an END section ends the file: one that is cut between
        // two sections is not whole either.
        let head: [u8; 12] = exactly(&mut self.input)?;
        let (words, _) = head.as_chunks::<4>();
        let [kind, length, sum] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
        // Looked at before a byte is read by it: until the checksum
        // is known, the length may be any.
        let most = match kind {
            END => Some(8),
            kind => (self.form.limit)(kind),
        };
        let most = most.ok_or_else(|| ReadError::damaged("a part of it is of no known kind"))?;
        if length > most {
            return Err(ReadError::damaged("a part of it is longer than it can be"));
        }
        let mut contents = Vec::new();
        let length = u64::from(length);
        // It grows with what is there, not with what the file says.
        (&mut self.input).take(length).read_to_end(&mut contents)?;
        if contents.len() as u64 != length {
            return Err(ReadError::Truncated);
        }
        // Kind and length are summed up, too, so that damage to them is found.
        let mut crc = Hasher::new();
        crc.update(&head[..8]);
        crc.update(&contents);
        if crc.finalize() != sum {
            return Err(ReadError::damaged("a checksum is wrong"));
        }
        if kind == END {
            return self.end(&contents).map(|()| None);
        }
        self.count += 1;
        Ok(Some((kind, contents)))
    }

    /// Returns the contents of the next section, which must be of this kind.
    ///
    /// # Errors
    /// It is not, or the file is damaged or not whole.
    pub fn expect(&mut self, kind: u32) -> Result<Vec<u8>, ReadError> {
        match self.section()? {
            Some((found, contents)) if found == kind => Ok(contents),
            _ => Err(ReadError::damaged(
                "its parts are in no order that they can be in",
            )),
        }
    }

    /// Checks that the end has been read: nothing may follow, and nothing may be missing.
    fn end(&mut self, contents: &[u8]) -> Result<(), ReadError> {
        let count = <[u8; 8]>::try_from(contents).map(u64::from_le_bytes);
        if count.ok() != Some(self.count) {
            return Err(ReadError::damaged("parts of it are missing"));
        }
        let mut more = [0];
        if fill(&mut self.input, &mut more)? > 0 {
            return Err(ReadError::damaged("something follows its end"));
        }
        Ok(())
    }
}

/// Reads as much of `bytes` as there is.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match input.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn exactly<const N: usize>(input: &mut impl Read) -> Result<[u8; N], ReadError> {
    let mut bytes = [0; N];
    if fill(input, &mut bytes)? < N {
        return Err(ReadError::Truncated);
    }
    Ok(bytes)
}

/// Reads JSON, of the `part` of a file that is called so.
///
/// # Errors
/// It is no such thing.
pub(crate) fn json<T: for<'de> serde::Deserialize<'de>>(
    text: &[u8],
    part: &'static str,
) -> Result<T, ReadError> {
    // Values nest only as deep as serde_json allows, so that no file exhausts the stack.
    serde_json::from_slice(text).map_err(|error| {
        let why = error.to_string();
        // The section has its checksum, so that a name that is not known was written by a program
        // that knew it.
        if why.starts_with("unknown ") {
            ReadError::Unknown { part, why }
        } else {
            ReadError::damaged(format!("its {part} makes no sense ({why})"))
        }
    })
}
