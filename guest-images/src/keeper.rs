//! A keeper for a program: a process between this one and the program, which ends the program and
//! everything that it started when this process ends, however that happens (SIGKILL included), and
//! holds this process's locks until then.
//!
//! A parent-death signal alone does not do: it reaches the program and not what that started, and
//! is cleared for set-user-ID programs. The keeper is a subreaper, so that nothing below it
//! escapes, and watches this process through a pidfd. Killed itself, it takes the program along by
//! the parent-death signal, and what that started by theirs.

#![expect(
    unsafe_code,
    reason = "the process that ends what was started is made by bare system calls"
)]

use crate::lock::Held;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{self, Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How long programs have to end by themselves, in turns of [`TURN`]: make removes what is half
/// made.
const GRACE_TURNS: u32 = 40;
/// How long programs that are being killed are waited for; those of other users cannot be.
const KILL_TURNS: u32 = 80;
/// Between two looks at what is still running: 20 ms.
const TURN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// Between two looks at the parent on a kernel without pidfds: 200 ms.
const WITHOUT_PIDFD: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// Longest list of children that is read at once, in bytes; the next look has the rest.
const LIST: usize = 4096;

/// Gives the program that `command` will start a keeper. The keeper holds the locks in `held` until
/// all has ended, so they must not change before the program is started.
pub(crate) fn keep(command: &mut Command, held: &Held) {
    let (parent, locks) = (process::getpid(), held.descriptors());
    // SAFETY: what runs between fork and exec, and in the keeper, makes system calls only: it takes
    // no lock and no memory, and touches no file descriptor but those that are its own after the
    // fork.
    unsafe { command.pre_exec(move || divide(parent, &locks)) };
}

/// Makes the program a process of its own below this one, which stays as its keeper. Returns in the
/// program only.
fn divide(parent: Pid, locks: &[RawFd]) -> io::Result<()> {
    let keeper = process::getpid();
    // SAFETY: a plain fork: the child goes on with a copy of the stack. The C library's own would
    // run the handlers of other libraries, which may take locks.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    let child = match i32::try_from(child) {
        Ok(0) => {
            // A group of its own, which the keeper can signal; a terminal's signals reach it
            // through the keeper.
            process::setpgid(None, None)?;
            // Before the look at the parent: a keeper that ended before this had effect is found
            // out by that.
            process::set_parent_process_death_signal(Some(Signal::TERM))?;
            if process::getppid() != Some(keeper) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            return Ok(());
        }
        Ok(child) => Pid::from_raw(child),
        Err(_) => None,
    };
    match child {
        Some(child) => watch(parent, child, locks),
        None => Err(io::Error::last_os_error()),
    }
}

/// Watches the program until it or the parent ends, which is all that a keeper does.
fn watch(parent: Pid, program: Pid, locks: &[RawFd]) -> ! {
    // Out of the terminal's foreground group, and under another name than its parent's: who kills
    // that by its name, or by Ctrl-C, leaves the keeper to do its work.
    let _ = process::setpgid(None, None);
    // SAFETY: the name is a string with a zero byte at its end.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"viommu-keeper".as_ptr()) };
    close_all_but(locks);
    // What the program starts becomes the keeper's child when its own parent ends.
    let _ = process::set_child_subreaper(Some(process::getpid()));
    let status = loop {
        match process::waitpid(Some(program), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => break Some(status),
            Ok(None) => {}
            Err(_) => break None,
        }
        if !sleep(parent, program) {
            end(program);
            break None;
        }
    };
    // What the program left running would otherwise outlive us.
    kill_all(program);
    exit_as(status)
}

/// Sleeps until the program has ended, or until it is time to look. False if the parent has ended.
fn sleep(parent: Pid, program: Pid) -> bool {
    let open = |pid| process::pidfd_open(pid, PidfdFlags::empty());
    let (Ok(ours), Ok(its)) = (open(parent), open(program)) else {
        let _ = poll(&mut [], Some(&WITHOUT_PIDFD));
        return process::getppid() == Some(parent);
    };
    // Only now is the number certainly the parent's, and not that of another process with the same
    // one.
    if process::getppid() != Some(parent) {
        return false;
    }
    let mut watched = [
        PollFd::new(&ours, PollFlags::IN),
        PollFd::new(&its, PollFlags::IN),
    ];
    // If a signal interrupts it, that is as good as the time to look.
    let _ = poll(&mut watched, None);
    watched[0].revents().is_empty()
}

/// Asks the program and what it started to end, and gives them a moment for it.
fn end(program: Pid) {
    // The group may be gone already.
    let _ = process::kill_process_group(program, Signal::TERM);
    for _ in 0..GRACE_TURNS {
        if !reap() {
            return;
        }
        let _ = poll(&mut [], Some(&TURN));
    }
}

/// Kills all that is below this process.
fn kill_all(program: Pid) {
    for _ in 0..KILL_TURNS {
        if !reap() {
            return;
        }
        // First all that is still in the group, at once: what it would start meanwhile escapes a
        // list.
        let _ = process::kill_process_group(program, Signal::KILL);
        // Each one's end hands its own children to us.
        kill_children();
        let _ = poll(&mut [], Some(&TURN));
    }
}

/// Takes note of children that have ended. Whether there are others.
fn reap() -> bool {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn kill_children() {
    // Of this thread: the fork has left the keeper only one.
    let path = c"/proc/thread-self/children";
    // On a kernel without CONFIG_PROC_CHILDREN the group is all that can be reached.
    let Ok(list) = rustix::fs::open(path, OFlags::RDONLY, Mode::empty()) else {
        return;
    };
    let mut bytes = [0; LIST];
    let Ok(count) = rustix::io::read(&list, &mut bytes) else {
        return;
    };
    for pid in numbers(&bytes[..count]) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Returns the numbers in a list, each with a blank after it; one that is cut off at the list's end
/// is none.
fn numbers(list: &[u8]) -> impl Iterator<Item = i32> {
    list.split_inclusive(|byte| *byte == b' ')
        .filter_map(|word| word.strip_suffix(b" "))
        .filter_map(|word| {
            word.iter().try_fold(0_i32, |value, byte| {
                let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
                value.checked_mul(10)?.checked_add(digit.into())
            })
        })
}

/// Closes every file of this process but the locks: the program's pipes among them, whose readers
/// wait for their end.
fn close_all_but(locks: &[RawFd]) {
    let mut next: libc::c_uint = 0;
    loop {
        // The smallest one left is searched for each time: to sort them would take memory, and
        // after the fork another thread's lock of the allocator may be held for ever.
        let lock = locks
            .iter()
            .filter_map(|lock| libc::c_uint::try_from(*lock).ok())
            .filter(|lock| *lock >= next)
            .min();
        close(
            next,
            lock.map_or(libc::c_uint::MAX, |lock| lock.wrapping_sub(1)),
        );
        match lock {
            Some(lock) => next = lock + 1,
            None => return,
        }
    }
}

/// Closes files `first` to `last`.
fn close(first: libc::c_uint, last: libc::c_uint) {
    if first > last || last == libc::c_uint::MAX && first == last {
        return;
    }
    // SAFETY: the files are copies that this process has from the fork; nothing in it uses them.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9.
    let most = process::getrlimit(Resource::Nofile).current;
    // The limit may be a billion, and to close as many would take minutes.
    let most = most.map_or(1 << 16, |most| most.min(1 << 16));
    for file in first..=last.min(u32::try_from(most).unwrap_or(1 << 16)) {
        // SAFETY: as above.
        unsafe { libc::close(file.try_into().unwrap_or(-1)) };
    }
}

/// Ends as the program did.
fn exit_as(status: Option<WaitStatus>) -> ! {
    if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
        // No second core file.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = process::setrlimit(Resource::Core, none);
        // SAFETY: the default action, in place of a handler that this process may have from the
        // fork.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    let code = status.and_then(WaitStatus::exit_status).unwrap_or(1);
    // SAFETY: ends this process without what its parent has registered for its own end.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_children_are_read_up_to_the_last_whole_number() {
        let read = |text: &str| numbers(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(read("1 23 456 "), [1, 23, 456]);
        assert_eq!(read("12 3"), [12]);
        assert_eq!(read("x 99999999999 7 "), [7]);
        assert!(read("").is_empty());
    }
}
