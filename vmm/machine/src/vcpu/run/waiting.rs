//! Virtual time while a guest waits for someone to type.

use std::time::{Duration, Instant};

use vmm_base::Clock;
use vmm_base::VirtualClock;
use vmm_devices::uart::Attendance;

use super::RunLoop;

/// Nanoseconds of guest time after which a guest that shows nothing, and that nobody can type at
/// any more, is taken to have nothing to do.
const SILENCE_NS: u64 = 48 * 3_600_000_000_000;

/// Since when the console has shown nothing, as far as the loop has looked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    bytes: u64,
    since_ns: u64,
}

impl RunLoop<'_> {
    /// Returns whether idle time passes as the host's does, whatever the guest's clock.
    ///
    /// It does while a person may type. When that is over, and a guest that cannot know goes on
    /// showing a prompt to nobody with no limit to its time, it would otherwise go from timer to
    /// timer for ever as fast as it can.
    pub(super) fn waits_for_a_person(&mut self) -> bool {
        let (bytes, now_ns) = (self.context.uart.bytes_out(), self.context.timing.now_ns());
        match self.context.gate.attendance() {
            Attendance::Nobody => false,
            // The silence counts from when the last person has left,
            // and not from what was shown last.
            Attendance::Present => {
                self.silence = Silence {
                    bytes,
                    since_ns: now_ns,
                };
                true
            }
            Attendance::Gone => {
                if bytes != self.silence.bytes {
                    self.silence = Silence {
                        bytes,
                        since_ns: now_ns,
                    };
                }
                let silent_ns = now_ns.saturating_sub(self.silence.since_ns);
                // With a limit, going from timer to timer comes to an end by itself.
                self.limits.guest_ns.is_none() && silent_ns > SILENCE_NS
            }
        }
    }

    /// Sleeps until guest time `until`, and less if someone types. What is typed then reaches the
    /// guest at the time that has come; a sleep that nobody ends takes it to `until` exactly, as if
    /// the time had been skipped.
    pub(super) fn wait_in_virtual_time(
        &self,
        clock: &VirtualClock,
        until: Option<u64>,
        ticket: u64,
    ) {
        let (before_ns, start) = (clock.now_ns(), Instant::now());
        let left = until.map(|ns| Duration::from_nanos(ns.saturating_sub(before_ns)));
        self.sleep(left, ticket);
        // Measured, as the sleep may have ended early, for input, or late, on a busy host.
        let passed_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let now_ns = before_ns.saturating_add(passed_ns);
        clock.skip_to(until.map_or(now_ns, |ns| ns.min(now_ns)));
    }
}
