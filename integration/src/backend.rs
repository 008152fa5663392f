//! Processes that are devices, for guests with vhost-user devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Disk;

/// How long a process may take to listen.
const START: Duration = Duration::from_secs(60);

/// A device's process, which ends when dropped.
pub struct Backend {
    child: Child,
    socket: PathBuf,
    output: PathBuf,
    _directory: TempDir,
}

impl Backend {
    /// Starts Debian's `qemu-storage-daemon` with a writable disk, on a socket of its own.
    ///
    /// # Panics
    /// If the host lacks the program, or it does not listen.
    pub fn qemu(disk: &Disk) -> Self {
        Self::start(|socket| {
            let mut command = Command::new("qemu-storage-daemon");
            command
                .arg("--blockdev")
                .arg(format!("driver=file,node-name=disk,filename={}", disk.path().display()))
                .arg("--export")
                .arg(format!(
                    "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={},writable=on",
                    socket.display()
                ));
            command
        })
    }

    /// Starts a disk of this project, by the program `integration` at `program`, with `options`.
    ///
    /// # Panics
    /// If it does not listen.
    pub fn own(program: &str, disk: &Disk, options: &[&str]) -> Self {
        Self::start(|socket| own(program, socket, disk, options))
    }

    fn start(command: impl FnOnce(&Path) -> Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory should be possible");
        let socket = directory.path().join("socket");
        let output = directory.path().join("output");
        let child = spawn(command(&socket), &output);
        let backend = Self {
            child,
            socket,
            output,
            _directory: directory,
        };
        backend.wait();
        backend
    }

    /// Waits until there is a socket.
    fn wait(&self) {
        let start = Instant::now();
        while !self.socket.exists() {
            assert!(start.elapsed() < START, "nobody listens: {}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns a device of this kind at the socket, in the notation of the command line.
    pub fn device(&self, options: &str) -> String {
        format!("{},{options}", self.socket.display())
    }

    /// Returns what the process has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Kills the process as `kill -9` does, and starts it again at the same socket.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn kill_and_start(&mut self, program: &str, disk: &Disk) {
        self.kill();
        fs::remove_file(&self.socket).expect("there is a socket");
        let command = own(program, &self.socket, disk, &[]);
        self.child = spawn(command, &self.output);
        self.wait();
    }

    /// Has the process stand still, as a debugger would.
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn suspend(&self) {
        let id = self.child.id().to_string();
        let done = Command::new("kill").args(["-STOP", &id]).status();
        assert!(done.is_ok_and(|status| status.success()), "it is there");
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

fn own(program: &str, socket: &Path, disk: &Disk, options: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("vhost-disk")
        .arg(socket)
        .arg(disk.path())
        .args(options);
    command
}

fn spawn(mut command: Command, output: &Path) -> Child {
    let file = fs::File::create(output).expect("a temporary file should be possible");
    let errors = file.try_clone().expect("a descriptor should be possible");
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let child = command.spawn();
    child.unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"))
}
