//! Tells threads that sleep from threads that only seem to whenever someone looks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Longer than what the host's kernel says about a thread.
const STATUS: usize = 8 << 10;

/// A thread, as the host's kernel sees it (proc_pid_status(5)).
#[derive(Debug)]
pub(super) struct Sleeper(File);

impl Sleeper {
    /// Returns the calling thread.
    ///
    /// # Errors
    /// When the host does not tell about its threads.
    pub fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/status").map(Self)
    }

    /// Returns how often it has gone to sleep so far, if it is asleep.
    fn naps(&self) -> Option<u64> {
        let mut text = vec![0; STATUS];
        // From the start each time, where the kernel writes the text anew.
        let length = self.0.read_at(&mut text, 0).ok()?;
        naps(std::str::from_utf8(text.get(..length)?).ok()?)
    }
}

fn naps(status: &str) -> Option<u64> {
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key));
    // S is an interruptible sleep (proc_pid_status(5)).
    if !value("State:")?.trim_start().starts_with('S') {
        return None;
    }
    value("voluntary_ctxt_switches:")?.trim().parse().ok()
}

/// Looks at threads from time to time.
#[derive(Debug)]
pub(super) struct IdleDetector {
    /// Time between looks.
    pub patience: Duration,
    last: Option<(Instant, Vec<u64>)>,
}

impl IdleDetector {
    /// Looks that long apart.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            last: None,
        }
    }

    /// Returns whether all of `threads` have slept without a break since the look before, which was
    /// some time ago. Looks once in a while, however often it is called.
    pub fn all_slept(&mut self, threads: &[Sleeper]) -> bool {
        // Two looks close together prove nothing: who wakes now and
        // then has the same count in both.
        if let Some((when, _)) = &self.last
            && when.elapsed() < self.patience
        {
            return false;
        }
        let naps: Option<Vec<_>> = threads.iter().map(Sleeper::naps).collect();
        // One that is awake makes the list empty, which counts as not asleep now and next time.
        let naps = naps.unwrap_or_default();
        // The same count means that nobody woke in between.
        let same = self.last.as_ref().is_some_and(|(_, last)| *last == naps);
        let slept = same && !naps.is_empty();
        self.last = Some((Instant::now(), naps));
        slept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn what_the_host_says_is_understood() {
        let status = "Name:\tcore 0\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t150\n\
                      nonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(naps(status), Some(150));
        assert_eq!(naps(&status.replace("S (", "R (")), None);
        assert_eq!(naps(""), None);
    }

    #[test]
    fn a_thread_that_sleeps_is_told_from_one_that_wakes_now_and_then() {
        let (to_sleeper, from_test) = channel::<()>();
        let (to_test, from_threads) = channel();
        let tell = to_test.clone();
        let sleeper = thread::spawn(move || {
            tell.send(Sleeper::current().unwrap()).unwrap();
            let _ = from_test.recv();
        });
        let sleeping = from_threads.recv().unwrap();
        let (to_napper, stop) = channel::<()>();
        let napper = thread::spawn(move || {
            to_test.send(Sleeper::current().unwrap()).unwrap();
            while stop.recv_timeout(Duration::from_millis(20)).is_err() {}
        });
        let napping = from_threads.recv().unwrap();
        let patience = Duration::from_millis(300);
        let looks = |threads: &[Sleeper]| {
            let mut idle_detector = IdleDetector::new(patience);
            let mut slept = false;
            for _ in 0..4 {
                slept |= idle_detector.all_slept(threads);
                thread::sleep(patience);
            }
            slept
        };
        assert!(!looks(&[]));
        assert!(!looks(&[napping]));
        assert!(looks(&[sleeping]));
        drop(to_sleeper);
        to_napper.send(()).unwrap();
        sleeper.join().unwrap();
        napper.join().unwrap();
    }
}
