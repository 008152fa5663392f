//! How soon a run ends that is told to, whatever its guest does: the worst guest of each device,
//! into a limit of wall time and stopped as by Ctrl-C, again and again.
//!
//! ```text
//! cargo run --release -p vmm-machine --example stop_latency [-- REPETITIONS [PART OF A GUEST'S NAME]]
//! ```
//!
//! Times are from when the limit has come, or the stop was asked for, to when the guest runs no
//! longer, in milliseconds.

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../src/hostile_tests/guests/mod.rs"]
mod guests;

use std::time::Duration;

use vmm_machine::TimeMode;

const REPETITIONS: usize = 20;
/// What is asked for.
const BOUND: Duration = Duration::from_millis(200);

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn main() {
    let argument = std::env::args().nth(1);
    let repetitions = match argument.as_deref().map(str::parse) {
        None => REPETITIONS,
        Some(Ok(count)) if count > 0 => count,
        Some(_) => {
            eprintln!("usage: stop_latency [REPETITIONS [PART]], a number from 1 on");
            std::process::exit(2);
        }
    };
    println!("| guest | time | limit: median | maximum | stop: median | maximum |");
    println!("|---|---|---|---|---|---|");
    let mut all = Vec::new();
    let part = std::env::args().nth(2).unwrap_or_default();
    for guest in guests::WORST
        .iter()
        .filter(|guest| guest.name.contains(&part))
    {
        for time in [TimeMode::Virtual, TimeMode::Host] {
            let mut late = [Vec::new(), Vec::new()];
            for _ in 0..repetitions {
                let mut world = guest.world(time);
                late[0].push(world.limit());
                late[1].push(world.stop());
            }
            late.iter_mut().for_each(|late| late.sort_unstable());
            let [limit, stop] = late.each_ref().map(|late| {
                let median = ms(late[late.len() / 2]);
                let greatest = late.last().copied().unwrap_or_default();
                format!("{median} | {}", ms(greatest))
            });
            println!("| {} | {time:?} | {limit} | {stop} |", guest.name);
            all.extend(late.concat());
        }
    }
    if all.is_empty() {
        eprintln!("no guest has {part:?} in its name");
        std::process::exit(2);
    }
    all.sort_unstable();
    let over = all.iter().filter(|time| **time > BOUND).count();
    let greatest = all.last().copied().unwrap_or_default();
    println!(
        "\n{} times: median {} ms, maximum {} ms, {over} over {} ms",
        all.len(),
        ms(all[all.len() / 2]),
        ms(greatest),
        ms(BOUND)
    );
}
