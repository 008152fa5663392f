//! Opens files that users name, without ever waiting for the other end of a named pipe.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};

/// Opens a file whose bytes are read more than once, or at any place: an ordinary one.
///
/// # Errors
/// The host refuses, or it is something else.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = without_waiting(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(refusal(if kind.is_dir() {
        "it is a directory"
    } else if kind.is_fifo() || kind.is_socket() {
        "it is a pipe: write what comes from it to a file first"
    } else {
        "it is a device, not a file"
    }))
}

/// Opens what is read once from its beginning to its end: a file, a device, or a pipe that a shell has connected, as
/// `/dev/stdin` or `<(COMMAND)` is.
///
/// # Errors
/// The host refuses, or it is a directory, or a named pipe, which may have no other end.
pub fn open_stream(path: &Path) -> io::Result<File> {
    let file = without_waiting(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(refusal("it is a directory"));
    }
    // The name of a pipe without one, as in /proc/self/fd, leads nowhere.
    if (kind.is_fifo() && path.canonicalize().is_ok()) || kind.is_socket() {
        return Err(refusal(
            "it is a named pipe: write what comes from it to a file first, or use /dev/stdin",
        ));
    }
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// Opens `path`; reads of it do not wait either.
fn without_waiting(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(open(path, flags, Mode::empty())?.into())
}

fn refusal(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn named_pipes_are_refused_without_waiting_for_their_other_end() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for open in [open_file, open_stream] {
            let error = open(&pipe).unwrap_err().to_string();
            assert!(error.contains("pipe: write what comes from it"), "{error}");
            let error = open(directory.path()).unwrap_err().to_string();
            assert_eq!(error, "it is a directory");
            let error = open(&directory.path().join("none")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        let error = open_file(Path::new("/dev/null")).unwrap_err().to_string();
        assert_eq!(error, "it is a device, not a file");
    }

    #[test]
    fn what_a_shell_has_connected_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let mut file = open_stream(Path::new(&path)).unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            writer.write_all(b"late").unwrap();
        });
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        late.join().unwrap();
        assert_eq!(text, "late");
        assert!(open_file(Path::new(&path)).is_err());
    }
}
