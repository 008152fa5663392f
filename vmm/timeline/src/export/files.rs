//! All formats of one report in a directory. Each file appears whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use vmm_files::atomic_file::{AtomicFile, reason};

use super::{chrome, html, text};
use crate::Report;

/// The files to which the formats of a report were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// The text.
    pub text: PathBuf,
    /// The trace for Perfetto.
    pub trace: PathBuf,
    /// The report itself.
    pub json: PathBuf,
}

/// The reason for which a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory is not there and could not be made.
    #[error("cannot make the report directory {}: {reason}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The host's reason.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write the report {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The host's reason.
        reason: String,
    },
    /// The name has parts that a file name cannot have.
    #[error("'{name}' cannot be the name of a report: use letters, digits, '-', '_' and '.'")]
    Name {
        /// The name.
        name: String,
    },
}

/// Writes `NAME.html`, `NAME.txt`, `NAME.trace.json` and `NAME.json` to `directory`, which is made
/// if it is not there.
///
/// # Errors
/// The name is not one of a file, or the directory or a file in it cannot be written.
pub fn write_all(directory: &Path, name: &str, report: &Report) -> Result<Written, ExportError> {
    // The name becomes part of a path, so it must neither lead elsewhere nor be hidden.
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // A file name has 255 bytes at most on Linux, with its extension.
    if name.is_empty() || name.starts_with('.') || name.len() > 200 || !name.chars().all(good) {
        return Err(ExportError::Name {
            name: name.to_owned(),
        });
    }
    std::fs::create_dir_all(directory).map_err(|error| ExportError::Directory {
        path: directory.to_owned(),
        reason: error.to_string(),
    })?;
    let path = |extension: &str| directory.join(format!("{name}.{extension}"));
    let written = Written {
        html: path("html"),
        text: path("txt"),
        trace: path("trace.json"),
        json: path("json"),
    };
    write_atomically(&written.html, |out| html::write(report, out))?;
    write_atomically(&written.text, |out| text::write(report, out))?;
    write_atomically(&written.trace, |out| chrome::write(report, out))?;
    write_atomically(&written.json, |out| {
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)
    })?;
    Ok(written)
}

/// Writes a file that appears when it is whole.
fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ExportError> {
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(AtomicFile::create(path)?);
        content(&mut out)?;
        // `into_inner` writes what is buffered, and unlike a drop tells whether that worked.
        let file = out.into_inner().map_err(|error| error.into_error())?;
        file.publish().map(drop)
    };
    write().map_err(|error| ExportError::File {
        path: path.to_owned(),
        reason: reason(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, VerdictKind};

    fn report() -> Report {
        Report::new(
            "empty",
            Verdict::new(VerdictKind::Undecided, "Nothing ran."),
        )
    }

    #[test]
    fn writes_everything_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        let written = write_all(&inner, "run", &report()).unwrap();
        let again = write_all(&inner, "run", &report()).unwrap();
        assert_eq!(written, again);
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 4);
        let json = std::fs::read_to_string(&written.json).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }

    #[test]
    fn a_bad_directory_or_name_is_one_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, name) in [
            (file.join("below"), "run"),
            (PathBuf::from("/proc/nowhere"), "run"),
            (directory.path().to_owned(), "../run"),
            (directory.path().to_owned(), ""),
        ] {
            let error = write_all(&path, name, &report()).unwrap_err().to_string();
            assert!(
                !error.contains('\n') && !error.contains(".report-"),
                "{error}"
            );
            assert!(
                error.starts_with("cannot ") || error.contains("cannot be"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        std::fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("enough"))
        })
        .unwrap_err();
        assert!(error.to_string().ends_with(": enough"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }
}
