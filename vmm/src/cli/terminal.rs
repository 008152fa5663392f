//! The terminal: raw while a guest has it, restored however the program ends.

use std::io::{IsTerminal, Read, Write};
use std::sync::{Mutex, MutexGuard};

use rustix::termios::{self, LocalModes, OptionalActions, OutputModes, Termios};
use vmm::ConsoleInput;
use vmm::thread::{self, ThreadError};

use super::signals::{Cause, Stopper};

/// The escape character, Ctrl-A, as QEMU has it.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    Ctrl-A x       end the guest and this program\r\n\
    Ctrl-A h       this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/// The terminal's settings to go back to. Not in the guard, so that a panic's hook and a signal's thread reach it.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

fn original() -> MutexGuard<'static, Option<Termios>> {
    ORIGINAL.lock().unwrap_or_else(|e| e.into_inner())
}

/// Whether stdin is a terminal that this process may read: one in the background would be stopped.
pub fn is_ours() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal()
        && termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Hands the terminal to the guest, until it is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Sends every key to the guest, Ctrl-C too. Output is left as it is, so that our own messages look right. `None`
    /// when the terminal does not let us.
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes |= OutputModes::OPOST;
        raw.local_modes -= LocalModes::ISIG;
        *original() = Some(before);
        if termios::tcsetattr(&stdin, OptionalActions::Now, &raw).is_err() {
            original().take();
            return None;
        }
        Some(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; does nothing if it was not taken.
pub fn restore() {
    if let Some(before) = original().take() {
        // It may be gone, and then there is nothing to restore.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// What keys mean: most are for the guest, some are for us.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

/// What was typed.
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
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (false, _) | (true, ESCAPE) => typed.guest.push(byte),
                (true, b'x' | b'X') => {
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

/// What stdin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A file, pipe or terminal whose every byte is for the guest.
    Stream,
    /// A raw terminal, on which Ctrl-A means what [`HELP`] says.
    Terminal {
        /// Whether the run ends when the terminal goes away: a shell that nobody can type at waits for ever.
        needed: bool,
    },
}

/// Types what comes from stdin on the guest's console, on a thread of its own, until stdin ends.
///
/// # Errors
/// When there is no thread to be had.
pub fn forward_stdin(
    input: ConsoleInput,
    stopper: Stopper,
    from: Stdin,
) -> Result<(), ThreadError> {
    // Nobody waits for the thread: a read of a terminal cannot be called off, and ends with the process.
    let forward = move || {
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
