//! The terminal's keys, while a guest has them.

use std::io::{IsTerminal, Read, Write};

use rustix::fs::FileType;
use vmm::ConsoleInput;
use vmm_base::thread::{self, ThreadError};

use super::signals::{Cause, Stopper};
use super::tty;

/// The escape character, Ctrl-A, as QEMU has it.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    Ctrl-A x       end the guest and this program\r\n\
    Ctrl-A h       this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/// The source of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is closed or /dev/null, or a terminal whose other job is in the foreground,
    /// which would stop us.
    Nowhere,
    /// A file: all that will ever come is there.
    File,
    /// A pipe, a socket or the like: more may come at any time until its other end is closed.
    Stream,
    /// A terminal.
    Terminal,
}

impl Source {
    /// Returns where it comes from now.
    pub fn find() -> Self {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return match tty::is_ours() {
                true => Self::Terminal,
                false => Self::Nowhere,
            };
        }
        // A stdin that was closed is /dev/null by now, Rust's runtime sees to that.
        let null = rustix::fs::stat("/dev/null").map(|null| null.st_rdev);
        match rustix::fs::fstat(&stdin) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Self::File,
                FileType::CharacterDevice if Ok(stat.st_rdev) == null => Self::Nowhere,
                _ => Self::Stream,
            },
            Err(_) => Self::Nowhere,
        }
    }
}

/// The meaning of keys: most are for the guest, some are for us.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

/// The input that was typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Typed {
    guest: Vec<u8>,
    quit: bool,
    help: bool,
}

impl Keys {
    fn press(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for &byte in bytes {
            // An escape holds for one key, which may come with the next read.
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (false, _) | (true, ESCAPE) => typed.guest.push(byte),
                (true, b'x' | b'X') => {
                    // What was typed after it is for nobody: the run ends.
                    typed.quit = true;
                    break;
                }
                (true, b'h' | b'H' | b'?') => typed.help = true,
                // As in QEMU, an escape that means nothing is dropped.
                (true, _) => {}
            }
        }
        typed
    }
}

/// The kind of stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A file, pipe or terminal whose every byte is for the guest.
    Stream,
    /// A raw terminal, on which Ctrl-A means what [`HELP`] says.
    Terminal {
        /// Whether the run ends when the terminal goes away: a shell that nobody can type at waits
        /// for ever.
        needed: bool,
    },
}

/// Types a file on the guest's console at once, so that it arrives at the same instruction in every
/// run; what there is no room for follows, on a thread of its own, as the guest reads.
///
/// # Errors
/// The host allows no more threads.
pub fn forward_file(input: ConsoleInput, stopper: Stopper) -> Result<(), ThreadError> {
    let mut buffer = Vec::new();
    // As much as may wait at once: what goes beyond would be refused.
    let most = vmm_devices::uart::MAX_WAITING;
    let whole = std::io::stdin()
        .lock()
        .take(most as u64)
        .read_to_end(&mut buffer)
        // As much as was asked for may not be all: then the rest is read by the thread.
        .is_ok_and(|count| count < most);
    // A restored machine may have input waiting already: what it has no room for follows.
    let rest = buffer.split_off(input.send(&buffer));
    if whole && rest.is_empty() {
        return Ok(());
    }
    forward(input, stopper, Stdin::Stream, rest)
}

/// Types what comes from stdin on the guest's console, on a thread of its own, until stdin ends.
///
/// # Errors
/// The host allows no more threads.
pub fn forward_stdin(
    input: ConsoleInput,
    stopper: Stopper,
    from: Stdin,
) -> Result<(), ThreadError> {
    forward(input, stopper, from, Vec::new())
}

/// Types `first`, and then what comes from stdin.
fn forward(
    input: ConsoleInput,
    stopper: Stopper,
    from: Stdin,
    first: Vec<u8>,
) -> Result<(), ThreadError> {
    // Nobody waits for the thread: a read of a terminal cannot be called off, and ends with the
    // process.
    let forward = move || {
        send_all(&input, &first);
        let mut keys = Keys::default();
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        loop {
            let count = match stdin.read(&mut buffer) {
                Ok(count @ 1..) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // The end of the input, or a terminal that went away: the guest goes on without.
                _ => {
                    if from == (Stdin::Terminal { needed: true }) {
                        stopper.stop(Cause::HANG_UP);
                    }
                    return;
                }
            };
            if from == Stdin::Stream {
                send_all(&input, &buffer[..count]);
                continue;
            }
            let typed = keys.press(&buffer[..count]);
            send_all(&input, &typed.guest);
            if typed.help {
                let _ = std::io::stderr().write_all(HELP.as_bytes());
            }
            if typed.quit {
                stopper.stop(Cause::Quit);
                return;
            }
        }
    };
    thread::spawn("stdin", forward).map(drop)
}

/// Types everything, waiting for the guest to read when too much is unread already.
fn send_all(input: &ConsoleInput, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = input.send(bytes);
        bytes = &bytes[taken..];
        if taken == 0 {
            // The guest's reading wakes nobody here, so it is looked at again a little later.
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_the_guest_or_for_us() {
        let mut keys = Keys::default();
        let guest = |bytes: &[u8]| Typed {
            guest: bytes.to_vec(),
            ..Typed::default()
        };
        assert_eq!(keys.press(b"ls\x03\n"), guest(b"ls\x03\n"));
        assert_eq!(keys.press(b"a\x01"), guest(b"a"));
        assert_eq!(keys.press(b"\x01b"), guest(b"\x01b"));
        assert_eq!(keys.press(b"\x01zc"), guest(b"c"));
        assert!(keys.press(b"\x01h").help);
        assert_eq!(
            keys.press(b"d\x01xe"),
            Typed {
                guest: b"d".to_vec(),
                quit: true,
                help: false
            }
        );
        assert!(!keys.press(b"x").quit);
    }
}
