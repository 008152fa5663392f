//! Programs that are started, and ended with everything they started themselves when a signal
//! comes.

use crate::error::Error;
use rustix::param::clock_ticks_per_second;
use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, set_child_subreaper, waitpid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long programs have to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(3);
/// How long a wait lasts before signals are looked at again.
const TURN: Duration = Duration::from_millis(50);

/// The number of the signal that came last, 0 for none.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Makes signals be noted rather than end this process, so that its children can be ended first.
///
/// # Errors
/// When a handler cannot be set.
pub(crate) fn watch_signals() -> Result<(), Error> {
    let flag = SIGNAL.get_or_init(Arc::default);
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(flag), number)
            .map_err(|source| failed("signal handlers", source))?;
    }
    // What a program leaves behind becomes our child, so that it can be found and ended.
    // Any number but 0 turns that on (prctl(2)).
    set_child_subreaper(Some(Pid::INIT)).map_err(|source| failed("prctl", source.into()))
}

/// Checks whether a signal has asked for the end.
///
/// # Errors
/// [`Error::Interrupted`] when one has.
pub(crate) fn check_signals() -> Result<(), Error> {
    match SIGNAL.get().map_or(0, |flag| flag.load(Ordering::Relaxed)) {
        0 => Ok(()),
        number => Err(Error::Interrupted(
            i32::try_from(number).unwrap_or_default(),
        )),
    }
}

/// Starts a program in a process group of its own.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(command: &mut Command) -> Result<Child, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .process_group(0)
        .spawn()
        .map_err(|source| failed(&program, source))
}

/// Runs a program that may ask the person at the terminal, to its end: it shares this process's
/// group, and so the keyboard. A signal is passed on to it, but it is not killed: it may be
/// installing something.
///
/// # Errors
/// When it cannot be started, or a signal came.
pub(crate) fn ask(command: &mut Command) -> Result<ExitStatus, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|source| failed(&program, source))?;
    let mut told = false;
    loop {
        let interrupted = check_signals();
        if let Some(status) = child
            .try_wait()
            .map_err(|source| failed(&program, source))?
        {
            return interrupted.map(|()| status);
        }
        if let (Err(_), false, Some(pid)) = (interrupted, told, pid(&child)) {
            // Ctrl-C has reached it by the terminal, but a signal to this process alone has not.
            let _ = kill_process(pid, Signal::INT);
            told = true;
        }
        thread::sleep(TURN);
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started, or a signal came; then it has been ended with all that it started.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, Error> {
    let mut child = start(command)?;
    wait(&mut child)
}

/// Runs a program to its end. `taken` is the processor time that it took, to some hundredths of a
/// second, however it ended.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_timed(command: &mut Command, taken: &mut Duration) -> Result<ExitStatus, Error> {
    let mut child = start(command)?;
    let stat = format!("/proc/{}/stat", child.id());
    wait_with(&mut child, || {
        // Once it has ended there is nothing to be read any more.
        let now = fs::read_to_string(&stat).ok();
        *taken = now.and_then(|stat| processor_time(&stat)).unwrap_or(*taken);
    })
}

/// Returns the processor time in a process's `stat` (proc_pid_stat(5)): its 14th and 15th field.
/// The second, its name, may hold anything, and ends with the last parenthesis.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The third field comes first here, and so the 14th is the twelfth.
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let sum = ticks()?.checked_add(ticks()?)?;
    let millis = sum.checked_mul(1_000)? / clock_ticks_per_second().max(1);
    Some(Duration::from_millis(millis))
}

/// Runs a program to its end, which should be a good one; `what` calls it in the error.
///
/// # Errors
/// When it cannot be started, does not succeed, or a signal came.
pub(crate) fn finish(mut command: Command, what: &str) -> Result<ExitCode, Error> {
    if run(&mut command)?.success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Failed(what.into()))
}

/// Returns what a program that ends by itself prints.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| failed(&program, source))?;
    if !output.status.success() {
        return Err(Error::Failed(program));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a program's end.
///
/// # Errors
/// When a signal came; then it has been ended with all that it started.
pub(crate) fn wait(child: &mut Child) -> Result<ExitStatus, Error> {
    wait_with(child, || {})
}

/// Returns the same, with `look` called from time to time.
fn wait_with(child: &mut Child, mut look: impl FnMut()) -> Result<ExitStatus, Error> {
    loop {
        look();
        if let Err(interrupted) = check_signals() {
            end(child);
            return Err(interrupted);
        }
        // Not `wait`, which goes on after a signal's handler has run.
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => thread::sleep(TURN),
            Err(source) => return Err(failed("wait", source)),
        }
    }
}

/// Ends a program and all that it started: asks them, and kills those that have not ended some
/// seconds later.
pub(crate) fn end(child: &mut Child) {
    if let Some(group) = pid(child) {
        // Who is signalled may have ended already, here and below.
        let _ = kill_process_group(group, Signal::INT);
        let patience = Instant::now();
        while patience.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(TURN);
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    end_orphans();
}

/// Ends what programs that have ended left behind.
pub(crate) fn end_orphans() {
    // Those in other process groups were left to us; each one's end can leave us more.
    loop {
        let orphans = children();
        if orphans.is_empty() {
            break;
        }
        for pid in orphans {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

/// Returns the number of a program's process, which is that of its group too if it was given one.
fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Returns this process's children.
fn children() -> Vec<Pid> {
    // Linux lists children by the thread that has started them.
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// Returns the error of a program that could not be started or watched.
pub(crate) fn failed(program: &str, source: std::io::Error) -> Error {
    Error::Program {
        program: program.to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_a_program_is_called() {
        let ticks = clock_ticks_per_second();
        let stat = format!(
            "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 {} {ticks} 0 0 20",
            2 * ticks
        );
        assert_eq!(processor_time(&stat), Some(Duration::from_secs(3)));
        assert_eq!(processor_time("7 (a) S 1"), None);
        assert_eq!(processor_time(""), None);
    }

    #[test]
    fn a_program_that_computes_takes_processor_time() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]);
        let mut taken = Duration::ZERO;
        assert!(run_timed(&mut command, &mut taken).unwrap().success());
        assert!(taken > Duration::ZERO);
    }
}
