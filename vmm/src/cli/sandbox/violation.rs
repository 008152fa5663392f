//! What becomes of a process that makes a system call which is not allowed.

#![expect(
    unsafe_code,
    reason = "a signal handler reads what the kernel hands it and makes system calls"
)]

use std::io;

use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::signal::register_signal_handler;

use super::super::tty;

/// The position in a SIGSYS's siginfo of the number of the system call, in words of 32 bits (Linux
/// `include/uapi/asm-generic/siginfo.h`: signal, errno, code, padding, address of two words,
/// number).
const CALL_WORD: usize = 6;
/// The exit code: that of a program which SIGSYS ended, as a shell shows it.
const EXIT_CODE: c_int = 128 + libc::SIGSYS;

/// Makes SIGSYS say which system call it was, and end the process.
pub(super) fn handle() -> io::Result<()> {
    register_signal_handler(libc::SIGSYS, report)
        .map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// Says in one sentence which call it was and ends the process: what it was about to do is not
/// known, so that it goes no further.
extern "C" fn report(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel hands a valid siginfo of 128 bytes to a handler that asks for it.
    let call = unsafe { info.cast::<c_int>().add(CALL_WORD).read() };
    // No allocation and no lock from here on: the call may have been made in the midst of either.
    let mut text = Sentence::default();
    text.add(b"vmm: the sandbox ended this process: system call ");
    text.number(call.unsigned_abs());
    text.add(b" is not allowed. This is a bug in vmm, or a guest broke out; --sandbox off does without\n");
    // SAFETY: `write` takes the bytes of a live buffer.
    unsafe { libc::write(libc::STDERR_FILENO, text.bytes.as_ptr().cast(), text.length) };
    tty::restore();
    // SAFETY: ends the process at once, as nothing in it can be relied on.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// A sentence that takes no memory, as a signal's handler may not.
struct Sentence {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Sentence {
    fn default() -> Self {
        Self {
            bytes: [0; 256],
            length: 0,
        }
    }
}

impl Sentence {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            // What does not fit is cut: a panic in here would need what a handler may not use.
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, mut value: u32) {
        // A u32 has ten digits at most, so that `first` stays within the array.
        let mut digits = [0; 10];
        let mut first = digits.len();
        loop {
            first -= 1;
            // A digit.
            digits[first] = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.add(&digits[first..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full_and_long_text_is_cut() {
        for value in [0, 7, 59, 435, u32::MAX] {
            let mut text = Sentence::default();
            text.number(value);
            assert_eq!(text.bytes[..text.length], *value.to_string().as_bytes());
        }
        let mut text = Sentence::default();
        text.add(&[b'x'; 1000]);
        assert_eq!(text.length, text.bytes.len());
    }
}
