//! The real-time clock's alarm wakes who waits for it, asleep and suspended, in both clocks.

use integration::{Guest, Run};

const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

/// Returns the command that makes the guest say how many seconds `wait` took by its real-time
/// clock.
fn timed(wait: &str) -> String {
    let now = "read now </sys/class/rtc/rtc0/since_epoch";
    format!(
        "{now}; before=$now; {wait}; status=$?; {now}; echo took $((now - before)); (exit $status)"
    )
}

/// Returns a read of the clock's device, which comes back when the alarm interrupts.
fn wait_for_alarm(seconds: u32) -> String {
    timed(&format!(
        "echo +{seconds} >{ALARM}; head -c 4 /dev/rtc0 >/dev/null"
    ))
}

/// Returns the seconds that a command [`timed`] took.
fn took(run: &Run, command: usize) -> u64 {
    let output = run.output(command);
    let seconds = output.lines().find_map(|line| line.strip_prefix("took "));
    seconds.expect("a time").parse().expect("a number")
}

#[test]
fn an_alarm_interrupts_once() {
    let run = Guest::image("ipmmu")
        .run(&format!(
            "echo +5 >{ALARM}; cat {ALARM}; sleep 7; cat {ALARM}; grep pl031 /proc/interrupts"
        ))
        .run("grep -E 'alrm_(time|date)|alarm_IRQ|alrm_pending' /proc/driver/rtc")
        .boot();
    run.assert_good();
    let output = run.output(1);
    let mut lines = output.lines();
    // The second `cat` shows nothing: the alarm is over.
    assert!(
        lines.next().is_some_and(|line| line.parse::<u64>().is_ok()),
        "{output}"
    );
    let interrupts: Vec<_> = lines
        .next()
        .expect("an interrupt")
        .split_whitespace()
        .collect();
    assert_eq!(interrupts[1], "1", "{output}");
    assert!(
        run.output(2).contains("alarm_IRQ\t: no"),
        "{}",
        run.output(2)
    );
}

#[test]
fn who_reads_the_clocks_device_waits_for_the_alarm() {
    let run = Guest::image("ipmmu").run(&wait_for_alarm(60)).boot();
    run.assert_good();
    assert!((59..=62).contains(&took(&run, 1)), "{}", run.output(1));
    assert!(run.summary.skipped_ns > 50_000_000_000, "{:?}", run.summary);
    let run = Guest::image("ipmmu")
        .host_time()
        .run(&wait_for_alarm(2))
        .boot();
    run.assert_good();
    assert!(run.summary.wall_ns >= 1_000_000_000, "{:?}", run.summary);
}

#[test]
fn a_suspended_guest_wakes() {
    for cpus in [1, 4] {
        let suspend = |state: &str| {
            timed(&format!(
                "echo +60 >{ALARM} && echo {state} >/sys/power/state"
            ))
        };
        let run = Guest::image("ipmmu")
            .cpus(cpus)
            .run("cat /sys/power/state")
            .run(&suspend("freeze"))
            .run(&suspend("mem"))
            .run("dmesg | grep -c 'PM: suspend exit'; grep -c ^processor /proc/cpuinfo")
            .boot();
        run.assert_good();
        for command in [2, 3] {
            let seconds = took(&run, command);
            assert!((59..=62).contains(&seconds), "{seconds}: {}", run.text());
        }
        assert_eq!(run.output(4), format!("2\n{cpus}"));
    }
}
