//! Files that appear whole or not at all.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use vmm_files::atomic_file::AtomicFile;
use vmm_files::input;

pub use vmm_files::atomic_file::reason;

use super::UserError;
use super::patience::Patient;

/// A file to be written at `path`. Until [`Output::publish`] nothing is there, and what was there
/// before stays.
///
/// A device at that path is written as it is, and so is a pipe that somebody reads. A reader who
/// does not read holds the run up, but never its end.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: Kind,
}

#[derive(Debug)]
enum Kind {
    /// To appear at its place. One that has a name until then is made when there is something to
    /// write, so that a program that is killed before leaves nothing.
    Pending(Option<AtomicFile>),
    Open(Patient<File>),
}

impl Output {
    /// Finds out whether a file can be written at `path`; `what` is its meaning, for the error's
    /// sentence.
    pub fn at(path: &Path, what: &str) -> Result<Self, UserError> {
        let fail = |error: std::io::Error| {
            UserError::new(format!(
                "cannot write the {what} {}: {}",
                path.display(),
                reason(&error)
            ))
        };
        let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
        let file = match kind {
            Ok(kind) if kind.is_dir() => return Err(fail(std::io::ErrorKind::IsADirectory.into())),
            Ok(kind)
                // A rename would replace a device or a pipe by a file, so that it is opened as it
                // is.
                if kind.is_char_device()
                    || kind.is_block_device()
                    || kind.is_fifo()
                    || kind.is_socket() =>
            {
                Kind::Open(input::open_sink(path).map(Patient::new).map_err(fail)?)
            }
            _ => {
                let file = AtomicFile::create(path).map_err(fail)?;
                // One that has a name is removed again by the drop: creating it has shown that it
                // can be.
                Kind::Pending(Some(file).filter(AtomicFile::is_unnamed))
            }
        };
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Makes the file appear with what was written so far; what is written later is appended to it.
    pub fn publish(self) -> std::io::Result<Patient<File>> {
        match self.file {
            Kind::Open(file) => Ok(file),
            // Where nothing was written there is no file yet, and an empty one has to appear.
            Kind::Pending(file) => file
                .map_or_else(|| AtomicFile::create(&self.path), Ok)?
                .publish()
                .map(Patient::new),
        }
    }

    /// Publishes as [`Output::publish`] does, with what was written safe on the disk before the
    /// file appears, and its name after.
    pub fn publish_durably(self) -> std::io::Result<()> {
        match self.file {
            Kind::Pending(Some(file)) => file.publish_durably(),
            Kind::Pending(None) => AtomicFile::create(&self.path)?.publish_durably(),
            // A pipe or a device has no disk to be safe on.
            Kind::Open(mut file) => file.flush(),
        }
    }

    /// Makes the file appear with `bytes` in it.
    pub fn save(mut self, bytes: &[u8]) -> Result<(), UserError> {
        let path = self.path.display().to_string();
        self.write_all(bytes)
            .and_then(|()| self.publish())
            .map(drop)
            .map_err(|error| UserError::new(format!("cannot write {path}: {}", reason(&error))))
    }

    /// Returns the path at which it is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds out whether a directory at `path`, made if need be, could take files. Nothing is made
    /// yet.
    pub fn check_directory(path: &Path, what: &str) -> Result<(), UserError> {
        let fail = |error: std::io::Error| {
            let (name, why) = (path.display(), reason(&error));
            UserError::new(format!("cannot write to the {what} {name}: {why}"))
        };
        let absolute = std::path::absolute(path).map_err(fail)?;
        // Whatever is missing below it can be made where a file can be.
        let there = absolute.ancestors().find(|parent| parent.exists());
        tempfile::tempfile_in(there.unwrap_or(&absolute))
            .map(drop)
            .map_err(fail)
    }

    /// Returns the outputs for both forms of a program's results.
    pub fn results(
        json: Option<&Path>,
        junit: Option<&Path>,
    ) -> Result<(Option<Self>, Option<Self>), UserError> {
        let at = |path: Option<&Path>| path.map(|path| Self::at(path, "results")).transpose();
        Ok((at(json)?, at(junit)?))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.file {
            Kind::Pending(Some(file)) => file.write(bytes),
            Kind::Pending(none) => none.insert(AtomicFile::create(&self.path)?).write(bytes),
            Kind::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.file {
            Kind::Pending(file) => file.as_mut().map_or(Ok(()), AtomicFile::flush),
            Kind::Open(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut output = Output::at(&path, "report").unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);

        std::fs::write(&path, "old").unwrap();
        let mut output = Output::at(&path, "report").unwrap();
        output.write_all(b"ne").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        output.publish().unwrap().write_all(b"w").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_a_sentence() {
        let directory = tempfile::tempdir().unwrap();
        for path in [
            directory.path().to_owned(),
            directory.path().join("no/such/file"),
        ] {
            let error = Output::at(&path, "report").unwrap_err().to_string();
            assert!(error.starts_with("cannot write the report "), "{error}");
            assert!(!error.contains(".vmm-"), "{error}");
        }
    }

    #[test]
    fn nothing_is_there_before_the_first_byte() {
        let directory = tempfile::tempdir().unwrap();
        let output = Output::at(&directory.path().join("out"), "report").unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        output.publish().unwrap();
        assert_eq!(
            std::fs::read(directory.path().join("out")).unwrap(),
            b"",
            "an empty file is a file"
        );
    }

    #[test]
    fn devices_and_links_stay_what_they_are() {
        Output::at(Path::new("/dev/null"), "report")
            .unwrap()
            .publish()
            .unwrap();
        assert!(
            std::fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut output = Output::at(&link, "report").unwrap();
        output.write_all(b"x").unwrap();
        output.publish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
