//! `vmm sandbox-check`, which tests of the sandbox use: it enters the sandbox of a machine and then
//! does, on a thread that was there before and on a new one, what a device that a guest has taken
//! over would try.

#![expect(
    unsafe_code,
    reason = "what the sandbox refuses is tried by bare system calls"
)]

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;

use clap::ValueEnum;

use super::super::stdout::print;
use super::super::{CommandExit, UserError};
use super::{Policy, SandboxArgs};

/// Try the sandbox.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to try
    attempt: Attempt,
    /// The file of the machine, which it may read, or with --write write
    #[arg(long)]
    disk: PathBuf,
    /// Let it be written
    #[arg(long)]
    write: bool,
    /// As with --gdb: a TCP port is listened at before the attempt
    #[arg(long)]
    listen: bool,
    /// The file that is tried
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Attempt {
    Read,
    Write,
    Create,
    Listen,
    Connect,
    Exec,
    Fork,
    Signal,
    Code,
    Nothing,
}

/// Runs the subcommand: prints what came of the attempt, if the sandbox leaves the process to do
/// so.
pub fn run(args: Args) -> Result<CommandExit, UserError> {
    args.sandbox.apply();
    let mut policy = Policy::default();
    if args.write {
        policy.write(&args.disk);
    } else {
        policy.read(&args.disk);
    }
    let start = std::time::Instant::now();
    policy.listen(args.listen.then_some(0));
    policy.enter()?;
    let listener = args.listen.then(|| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.transpose();
    let _listener = listener.map_err(|error| UserError::new(format!("cannot listen: {error}")))?;
    // As a machine's threads, which are there when system calls are restricted.
    let (order, orders) = channel::<()>();
    let (attempt, file) = (args.attempt, args.file.unwrap_or(args.disk));
    let old = file.clone();
    let thread = std::thread::spawn(move || {
        let _ = orders.recv();
        attempt.make(&old)
    });
    super::filter(0)?;
    tracing::info!("sandbox: entered in {} us", start.elapsed().as_micros());
    let _ = order.send(());
    let there = thread.join().unwrap_or_else(|_| "panicked".into());
    // Threads inherit both restrictions from the one that starts them.
    let new = std::thread::spawn(move || attempt.make(&file));
    let new = new.join().unwrap_or_else(|_| "panicked".into());
    print(&format!("{there}\n{new}\n"));
    Ok(CommandExit::Success)
}

impl Attempt {
    /// Makes the attempt, and returns what came of it.
    fn make(self, file: &PathBuf) -> String {
        let result = match self {
            Self::Read => File::open(file).and_then(|mut file| file.read(&mut [0]).map(drop)),
            Self::Write => File::options().write(true).open(file).map(drop),
            Self::Create => fs::write(file, "x"),
            Self::Listen => TcpListener::bind("127.0.0.1:0").map(drop),
            Self::Connect => TcpStream::connect("127.0.0.1:9").map(drop),
            Self::Exec => Command::new("/bin/true").status().map(drop),
            Self::Fork => fork(),
            Self::Signal => signal_parent(),
            Self::Code => executable_memory(),
            Self::Nothing => Ok(()),
        };
        match result {
            Ok(()) => "done".into(),
            Err(error) => format!("refused: {error}"),
        }
    }
}

fn fork() -> std::io::Result<()> {
    // SAFETY: the child ends at once.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

fn signal_parent() -> std::io::Result<()> {
    let parent = rustix::process::getppid().ok_or(std::io::ErrorKind::NotFound)?;
    // Signal 0: the kernel checks the permission and delivers nothing.
    Ok(rustix::process::test_kill_process(parent)?)
}

fn executable_memory() -> std::io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, which nothing else uses.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
