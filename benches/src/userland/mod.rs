//! Whole Debian systems: to a login (`boot --rootfs`), and programs in them (`userland`).

pub mod login;
mod side;
mod watch;

use anyhow::{Result, ensure};
use benches::statistics::median_or_nan;
use guest_images::encode_command;
use serde::Serialize;
use vmm::ByteSize;

use crate::qemu;
use side::Guest;
use watch::Watched;

/// What to compare.
///
/// Both sides boot the same kernel with the same root disk, and run the same programs in it one
/// after another, without its services. What each takes is the processor time of the whole process
/// from one line of the console to the next; what they print has to be the same on both sides. The
/// sides take turns.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The root disk
    #[arg(long, default_value = "debian:bookworm+tools")]
    rootfs: String,
    /// Runs on each side
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Size of RAM
    #[arg(long, default_value = "512M")]
    memory: ByteSize,
    /// Only the programs with this in their names
    #[arg(long)]
    only: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The programs: a name, what they are bound by, and a command for the guest's shell. All of the
/// commands have to fit on one kernel command line.
const WORK: [(&str, &str, &str); 7] = [
    ("sha256sum", "integer", "head -c 64M /dev/zero|sha256sum"),
    ("gzip", "integer", "seq 700000|gzip|cksum"),
    (
        "python",
        "integer",
        "python3 -c 'print(sum(i*i%7 for i in range(1500000)))'",
    ),
    (
        "gcc",
        "integer",
        "seq 60|sed 's/.*/int f&(int*a){int s=0;for(int i=0;i<&;i++)s+=a[i]*&;return s;}/'\
         |gcc -O2 -S -xc - -o-|cksum",
    ),
    (
        "python-float",
        "VFP",
        "python3 -c 'print(sum(i**.5 for i in range(1000000)))'",
    ),
    (
        "c-double",
        "VFP",
        "cd tmp;echo 'main(){double s=0;for(int i=1;i<2e7;i++)s+=1./i/i;printf(\"%f\",s);}'\
         |gcc -w -O2 -xc -&&./a.out&&echo",
    ),
    (
        "openssl",
        "NEON",
        "head -c 64M /dev/zero|openssl enc -chacha20 -K 0 -iv 0|cksum",
    ),
];

/// The result of one program, as JSON has it: processor time in seconds, the ratio is ours by
/// QEMU's.
#[derive(Debug, Serialize)]
struct Row {
    program: &'static str,
    bound_by: &'static str,
    viommu_s: f64,
    qemu_s: f64,
    ratio: f64,
}

/// What a program printed, and its processor time in seconds.
type Outcome = (String, f64);

/// Runs the comparison.
///
/// # Errors
/// A root disk or QEMU cannot be had, a program fails, or it prints something else on the other
/// side.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only));
    let work: Vec<_> = WORK.into_iter().filter(|(name, ..)| wanted(name)).collect();
    ensure!(!work.is_empty(), "there is no program of that name");
    let peer = qemu::version()?;
    let words = words(work.iter().map(|(.., command)| *command));
    let guest = Guest::new(&args.rootfs, args.memory, 1, &words)?;
    let mut times = vec![(Vec::new(), Vec::new()); work.len()];
    for n in 1..=args.runs {
        let ours = measure(Watched::start(&mut guest.here()?)?, work.len())?;
        let theirs = measure(Watched::start(&mut guest.under_qemu())?, work.len())?;
        for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            let name = work[index].0;
            ensure!(
                our.0 == their.0,
                "{name} printed here\n{}and under QEMU\n{}",
                our.0,
                their.0
            );
            eprintln!(
                "run {n} of {}: {name}: {:.2} s, QEMU {:.2} s",
                args.runs, our.1, their.1
            );
            times[index].0.push(our.1);
            times[index].1.push(their.1);
        }
    }
    let rows: Vec<Row> = work
        .iter()
        .zip(&times)
        .map(|((program, bound_by, _), (ours, theirs))| {
            let (viommu_s, qemu_s) = (median_or_nan(ours), median_or_nan(theirs));
            let ratio = viommu_s / qemu_s;
            Row {
                program,
                bound_by,
                viommu_s,
                qemu_s,
                ratio,
            }
        })
        .collect();
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    println!(
        "{}, processor time, medians of {}    ({peer})",
        guest.name, args.runs
    );
    for row in rows {
        println!(
            "  {:14}{:10}{:8.2} s  QEMU {:8.2} s  ratio {:.2}",
            row.program, row.bound_by, row.viommu_s, row.qemu_s, row.ratio
        );
    }
    Ok(())
}

/// Returns the words of the kernel command line for commands. The kernel's own messages would come
/// between the lines that are compared.
fn words<'a>(commands: impl Iterator<Item = &'a str>) -> String {
    let commands = commands.map(encode_command);
    ["quiet".to_owned()]
        .into_iter()
        .chain(commands)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns what each of the guest's commands printed and took.
fn measure(mut guest: Watched, commands: usize) -> Result<Vec<Outcome>> {
    let (_, mut before) = guest.wait_for("guest: ready")?;
    let mut outcomes = Vec::new();
    for number in 1..=commands {
        let (text, now) = guest.wait_for(&format!("guest: command {number} exited with 0"))?;
        let text = text.trim().replace('\r', "") + "\n";
        outcomes.push((text, (now.processor - before.processor).as_secs_f64()));
        before = now;
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_on_a_kernel_command_line() {
        let words = words(WORK.iter().map(|(.., command)| *command));
        // Beside the console and the root disk.
        assert!(
            words.len() < guest_images::MAX_COMMAND_LINE - 80,
            "{}",
            words.len()
        );
    }
}
