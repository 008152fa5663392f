//! seccomp: which system calls can be made.
//!
//! One list for all threads. Threads differ in what they need, but share their memory: what one may
//! do, another can have it do. Opening files is allowed here, and restricted by Landlock, which
//! sees paths.

use std::collections::BTreeMap;
use std::io;

use libc::{c_long, c_uint};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The reason for which system calls could not be restricted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) enum Error {
    /// The filter is wrong, or the kernel refuses it.
    Filter(#[from] seccompiler::Error),
    /// A rule is wrong.
    Rule(#[from] seccompiler::BackendError),
}

/// Which sockets there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    /// New ones to processes on this host, besides those that are open already.
    pub unix: bool,
    /// New ones to anywhere by IPv4.
    pub inet: bool,
}

/// Restricts all threads of this process. False if the kernel, or this kind of processor, has no
/// such filters.
pub(super) fn apply_to_all_threads(sockets: Sockets) -> Result<bool, Error> {
    apply(sockets, seccompiler::apply_filter_all_threads)
}

/// Restricts this thread, and those that it starts.
pub(super) fn apply_to_this_thread(sockets: Sockets) -> Result<bool, Error> {
    apply(sockets, seccompiler::apply_filter)
}

fn apply(
    sockets: Sockets,
    install: fn(&[seccompiler::sock_filter]) -> seccompiler::Result<()>,
) -> Result<bool, Error> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(false);
    };
    // The filter of clone3 first: once the other is in force, seccomp(2) itself is no longer
    // allowed.
    for program in [without_clone3(target)?, allowed(target, sockets)?] {
        match install(&program) {
            Err(seccompiler::Error::Seccomp(error)) if is_absent(&error) => return Ok(false),
            other => other?,
        }
    }
    Ok(true)
}

/// Returns whether this is the answer of a kernel without filters.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// Returns the filter that hides clone3. What that asks for is in memory, which a filter cannot
/// see; the C library takes `clone` where there is no clone3.
fn without_clone3(target: TargetArch) -> Result<BpfProgram, Error> {
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, absent, target)?.try_into()?)
}

/// Returns the filter with the list: any other call ends the process.
fn allowed(target: TargetArch, sockets: Sockets) -> Result<BpfProgram, Error> {
    let plain = [
        MEMORY, FILES, EVENTS, THREADS, SIGNALS, PROCESS, SOCKETS, OLD,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain
        .concat()
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    rules.extend(conditional()?);
    rules.extend(new_sockets(sockets)?);
    // Trap, not kill: SIGSYS lets the process say which call it was.
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, target)?;
    Ok(filter.try_into()?)
}

/// Returns the calls that are allowed for some arguments only.
fn conditional() -> Result<Vec<(i64, Vec<SeccompRule>)>, Error> {
    // A process keeps its number, and the filter lets no new process be made.
    let own = u64::from(std::process::id());
    let not_executable = || argument(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    let thread = libc::CLONE_THREAD as u64;
    let mut ioctls = Vec::new();
    for request in IOCTLS {
        ioctls.extend(argument(1, SeccompCmpOp::Eq, u64::from(*request))?);
    }
    // All of KVM's: which ones are made depends on the host's kernel and processor.
    ioctls.extend(argument(1, SeccompCmpOp::MaskedEq(IOCTL_TYPE), KVM_TYPE)?);
    let mut prctls = Vec::new();
    for option in [libc::PR_SET_NAME, PR_SET_VMA, PR_GET_AUXV] {
        prctls.extend(argument(
            0,
            SeccompCmpOp::Eq,
            u64::from(option.unsigned_abs()),
        )?);
    }
    Ok(vec![
        // No code but what this program came with.
        (libc::SYS_mmap, not_executable()?),
        (libc::SYS_mprotect, not_executable()?),
        // Threads, and no processes.
        (
            libc::SYS_clone,
            argument(0, SeccompCmpOp::MaskedEq(thread), thread)?,
        ),
        (libc::SYS_ioctl, ioctls),
        (libc::SYS_prctl, prctls),
        // Signals to this process alone, and limits of this process alone.
        (libc::SYS_kill, argument(0, SeccompCmpOp::Eq, own)?),
        (libc::SYS_tgkill, argument(0, SeccompCmpOp::Eq, own)?),
        (libc::SYS_prlimit64, argument(0, SeccompCmpOp::Eq, 0)?),
    ])
}

/// Returns the calls that make sockets and connect them. Where these lead is in memory, which a
/// filter cannot see.
fn new_sockets(sockets: Sockets) -> Result<Vec<(i64, Vec<SeccompRule>)>, Error> {
    let Sockets { unix, inet } = sockets;
    let family = |wanted: bool, family: i32| {
        let family = wanted.then_some(u64::from(family.unsigned_abs()));
        let rules = family.map(|family| argument(0, SeccompCmpOp::Eq, family));
        rules.transpose().map(Option::unwrap_or_default)
    };
    let of_unix = family(unix, libc::AF_UNIX)?;
    let of_inet = family(inet, libc::AF_INET)?;
    let mut calls = Vec::new();
    if unix || inet {
        calls.push((libc::SYS_socket, [of_unix.clone(), of_inet].concat()));
        calls.push((libc::SYS_connect, Vec::new()));
    }
    if unix {
        calls.push((libc::SYS_socketpair, of_unix));
    }
    if inet {
        // Each socket for datagrams has a port of its own.
        calls.push((libc::SYS_bind, Vec::new()));
    }
    Ok(calls)
}

/// Returns a rule about one argument, of which the lower 32 bits count.
fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, Error> {
    // The kernel takes these arguments as int or looks at low bits: what a caller leaves in the
    // upper half of the register must not decide.
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

/// The part of a request that says whose it is (Linux `include/uapi/asm-generic/ioctl.h`).
const IOCTL_TYPE: u64 = 0xff00;
/// KVM's (Linux `include/uapi/linux/kvm.h`, KVMIO).
const KVM_TYPE: u64 = 0xae00;
/// Names a mapping of memory, which the C library does (Linux `include/uapi/linux/prctl.h`).
const PR_SET_VMA: libc::c_int = 0x5356_4d41;
/// The option that reads what the kernel told this process at its start, such as the size of a page
/// (as above).
const PR_GET_AUXV: libc::c_int = 0x4155_5856;
/// Requests to terminals, files and disks. Not TIOCSTI, which types on a terminal for others to
/// run.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel takes requests of 32 bits"
)]
const IOCTLS: &[c_uint] = &[
    libc::TCGETS as c_uint,
    libc::TCSETS as c_uint,
    libc::TCSETSW as c_uint,
    libc::TCSETSF as c_uint,
    libc::TCGETS2 as c_uint,
    libc::TCSETS2 as c_uint,
    libc::TCSETSW2 as c_uint,
    libc::TCSETSF2 as c_uint,
    libc::TIOCGWINSZ as c_uint,
    libc::TIOCGPGRP as c_uint,
    libc::FIONBIO as c_uint,
    libc::FIONREAD as c_uint,
    libc::FIOCLEX as c_uint,
    // Size, block size and discard of a block device (Linux `include/uapi/linux/fs.h`).
    0x8008_1272,
    0x1268,
    0x127b,
    0x1277,
    // FICLONE.
    0x4004_9409,
];
const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
];
const FILES: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
];
const EVENTS: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];
const THREADS: &[c_long] = &[
    // Allowed here so that the other filter's answer is the one that counts.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
];
const SIGNALS: &[c_long] = &[
    // The kernel has a thread make it, to resume a sleep that a signal interrupted.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_setitimer,
    libc::SYS_sigaltstack,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_settime,
];
const PROCESS: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
];
/// The calls on sockets that are there: a debugger's, the console's. No new ones, and no
/// connections to elsewhere.
const SOCKETS: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];
/// Older forms that other processors never had, and that the C library still takes here.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_filters_for_both_kinds_of_host() {
        for target in [TargetArch::x86_64, TargetArch::aarch64] {
            for (unix, inet) in [(false, false), (true, false), (false, true), (true, true)] {
                let sockets = Sockets { unix, inet };
                assert!(!allowed(target, sockets).unwrap().is_empty());
            }
            assert!(!without_clone3(target).unwrap().is_empty());
        }
    }

    #[test]
    fn no_call_is_listed_twice_or_both_with_and_without_a_condition() {
        let mut calls = [
            MEMORY, FILES, EVENTS, THREADS, SIGNALS, PROCESS, SOCKETS, OLD,
        ]
        .concat();
        calls.extend(conditional().unwrap().into_iter().map(|(call, _)| call));
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
        for never in [
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_bpf,
        ] {
            assert!(!calls.contains(&never));
        }
    }
}
