//! Reads the TOML files that users write, and says where a mistake in one is.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::input;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A text is not well-formed TOML, or has keys that it should not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Mistake {
    /// Its line, from 1.
    pub line: usize,
    /// The parser's message.
    pub message: String,
}

/// A file that describes something cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is not well-formed, or has keys that it should not have.
    #[error("cannot use {file}: {mistake}")]
    Toml {
        /// The file, or the name of what is shipped.
        file: String,
        /// The mistake in it.
        mistake: Mistake,
    },
}

/// Returns the text of the file at `path`, with an error that names it.
///
/// # Errors
/// As [`read`].
pub fn read_named(path: &Path) -> Result<String, FileError> {
    read(path).map_err(|source| FileError::Read {
        path: path.into(),
        source,
    })
}

/// Returns what `text`, which came from `file`, describes, with an error that names it.
///
/// # Errors
/// As [`parse`].
pub fn parse_named<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, FileError> {
    parse(text).map_err(|mistake| FileError::Toml {
        file: file.into(),
        mistake,
    })
}

/// Returns the text of the file at `path`.
///
/// # Errors
/// It cannot be read, is not text, or is too large to be meant.
pub fn read(path: &Path) -> io::Result<String> {
    // Reading is what is limited, one byte beyond the limit to notice it: the size of a device or
    // pipe is not known before.
    let mut text = String::new();
    let file = input::open_stream(path)?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            // How `read_to_string` reports bytes that are not UTF-8.
            io::ErrorKind::InvalidData => io::Error::new(error.kind(), "it is not a text file"),
            _ => error,
        })?;
    if text.len() as u64 > MAX_BYTES {
        let what = format!("more than {MAX_BYTES} bytes are too much for a description");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(text)
}

/// Returns what `text` describes.
///
/// # Errors
/// The first mistake in it.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| Mistake {
        line: error
            .span()
            // `get` and not an index: a span that lies within a character must not panic.
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1),
        // Some of the parser's messages have several lines, but this is part of one sentence.
        message: error.message().lines().collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_line() {
        let wrong = parse::<toml::Table>("a = 1\nb = 2\nc = = 3\n").unwrap_err();
        assert_eq!(wrong.line, 3);
        assert!(wrong.to_string().starts_with("line 3: "), "{wrong}");
        assert!(!wrong.message.contains('\n'));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("too much"), "{error}");
    }
}
