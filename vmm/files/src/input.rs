//! Opens files that users name, to be read or written, without ever waiting for the other end of a
//! named pipe.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;

/// Opens a file whose bytes are read more than once, or at any place: an ordinary one.
///
/// # Errors
/// The host refuses, or it is something else.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = without_waiting(path)?;
    let kind = file.metadata()?.file_type();
    // O_NONBLOCK may stay set: reads and writes of ordinary files ignore it (open(2)).
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

/// Opens what is read once from its beginning to its end: a file, a device, or a pipe that a shell
/// has connected, as `/dev/stdin` or `<(COMMAND)` is.
///
/// # Errors
/// The host refuses, or it is a directory, or a named pipe, which may have no other end.
pub fn open_stream(path: &Path) -> io::Result<File> {
    let file = without_waiting(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(refusal("it is a directory"));
    }
    // What a shell has connected has no path: its name in /proc/self/fd ("pipe:[...]") cannot be
    // resolved.
    if (kind.is_fifo() && path.canonicalize().is_ok()) || kind.is_socket() {
        return Err(refusal(
            "it is a named pipe: write what comes from it to a file first, or use /dev/stdin",
        ));
    }
    // Only opening must not wait: whoever reads from it waits for the bytes.
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// Opens what takes bytes as they come and is no file: a device, or a pipe that somebody reads.
/// Writes do not wait either: they fail with [`io::ErrorKind::WouldBlock`].
///
/// # Errors
/// The host refuses, or it is a pipe that nobody reads, or a socket.
pub fn open_sink(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if kind.is_socket() {
        return Err(refusal(
            "it is a socket: name a file, or a named pipe that somebody reads",
        ));
    }
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags, Mode::empty()) {
        // ENXIO: a named pipe that is opened for writing only, without waiting, and has no reader
        // (fifo(7)).
        Err(Errno::NXIO) if kind.is_fifo() => Err(refusal(
            "it is a pipe that nobody reads: start its reader first, or name a file",
        )),
        file => Ok(file?.into()),
    }
}

/// Opens `path`; neither this nor reads of it wait.
fn without_waiting(path: &Path) -> io::Result<File> {
    // O_NOCTTY: a terminal that the user names must not become the one that controls this process.
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
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    /// Returns a directory and a named pipe in it.
    fn named_pipe() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        (directory, pipe)
    }

    #[test]
    fn named_pipes_are_refused_without_waiting_for_their_other_end() {
        let (directory, pipe) = named_pipe();
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
    fn pipes_are_written_only_if_somebody_reads_them() {
        let (directory, pipe) = named_pipe();
        let error = open_sink(&pipe).unwrap_err().to_string();
        assert!(error.contains("start its reader first"), "{error}");
        let mut reader = without_waiting(&pipe).unwrap();
        let mut sink = open_sink(&pipe).unwrap();
        let full = loop {
            if let Err(error) = sink.write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(reader.read(&mut [0; 4096]).unwrap(), 4096);
        assert_eq!(sink.write(&[0; 4096]).unwrap(), 4096);
        open_sink(Path::new("/dev/null"))
            .unwrap()
            .write_all(b"x")
            .unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = open_sink(&socket).unwrap_err().to_string();
        assert!(error.contains("it is a socket"), "{error}");
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
