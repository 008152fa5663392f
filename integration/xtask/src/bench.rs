//! `cargo xtask bench`: what can be measured, and measuring it.

use crate::error::Error;
use crate::process;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; without it, what can be measured is listed
    name: Option<String>,
    /// Arguments for the measurement; `cargo xtask bench NAME --help` lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<String>,
}

/// Something that can be measured.
#[derive(Debug)]
struct Measurement {
    name: &'static str,
    /// What it measures.
    what: &'static str,
    /// About how long it takes on two cores that have other work too, once it is compiled and its
    /// guests' images are in the cache.
    time: &'static str,
    /// What cargo is told, but for the measurement's own arguments.
    command: Of,
}

/// What cargo is told to run.
#[derive(Debug)]
enum Of {
    /// A subcommand of the program `benches`.
    Benches,
    /// An example of this package and name; the words are its arguments if none are given.
    Example(&'static str, &'static str, &'static [&'static str]),
    /// `cargo bench`.
    Criterion,
}

const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "boot",
        what: "boots of one kernel here and under QEMU, in turns",
        time: "10 s",
        command: Of::Benches,
    },
    Measurement {
        name: "code",
        what: "boots with the code of a boot before and without; the host's instructions for a guest's",
        time: "5 s",
        command: Of::Benches,
    },
    Measurement {
        name: "guest-io",
        what: "a guest that copies from and to its disk, with an IOMMU before it and without",
        time: "4 min",
        command: Of::Benches,
    },
    Measurement {
        name: "history",
        what: "going back in the run of a guest, over all of it and step by step",
        time: "20 s",
        command: Of::Benches,
    },
    Measurement {
        name: "inject",
        what: "runs of a fault plan a second, from a snapshot and with a reboot for each",
        time: "25 s",
        command: Of::Benches,
    },
    Measurement {
        name: "requests",
        what: "virtio-iommu's requests through a virtqueue in memory",
        time: "25 s",
        command: Of::Benches,
    },
    Measurement {
        name: "snapshot",
        what: "saving a guest, and going on from there many times, against booting it each time",
        time: "10 s",
        command: Of::Benches,
    },
    Measurement {
        name: "translation",
        what: "DMA through viommu, through vm-memory's IOMMU and without one",
        time: "3 min",
        command: Of::Benches,
    },
    Measurement {
        name: "userland",
        what: "programs of a Debian system here and under QEMU, in turns, by their processor time",
        time: "10 min",
        command: Of::Benches,
    },
    Measurement {
        name: "criterion",
        what: "the cases of `translation` under criterion",
        time: "80 s",
        command: Of::Criterion,
    },
    Measurement {
        name: "stop_latency",
        what: "how soon a run ends whatever its guest does",
        time: "2 min",
        command: Of::Example("vmm-machine", "stop_latency", &[]),
    },
    Measurement {
        name: "verify_cost",
        what: "comparing what a guest boots from with its SHA-256, as every boot does",
        time: "1 s",
        command: Of::Example("guest-images", "verify_cost", &["ipmmu"]),
    },
];

/// Lists what can be measured, or becomes the measurement.
///
/// # Errors
/// When there is none of that name, or cargo cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let Some(name) = &arguments.name else {
        println!("`cargo xtask bench NAME` measures:\n");
        for Measurement {
            name, what, time, ..
        } in MEASUREMENTS
        {
            println!("  {name:<13} {what} (about {time})");
        }
        println!("\nTimes come on top of compiling and of obtaining the images of guests.");
        println!("docs/performance.md says what was measured, and how.");
        return Ok(ExitCode::SUCCESS);
    };
    let measurement = find(name)?;
    // It may ask at the terminal whether to install something, so it takes this process's place.
    Err(process::failed(
        "cargo",
        measurement.command(&arguments.arguments).exec(),
    ))
}

/// Returns the measurement of a name, written with `-` or `_`.
fn find(name: &str) -> Result<&'static Measurement, Error> {
    let same = |other: &str| other.replace('_', "-") == name.replace('_', "-");
    let found = MEASUREMENTS.iter().find(|each| same(each.name));
    found.ok_or_else(|| {
        let known: Vec<&str> = MEASUREMENTS.iter().map(|each| each.name).collect();
        Error::Unknown {
            what: "measurement",
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}

impl Measurement {
    fn command(&self, arguments: &[String]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(crate::workspace());
        let mut default: &[&str] = &[];
        match self.command {
            Of::Benches => {
                cargo.args(["run", "--release", "-p", "benches", "--", self.name]);
            }
            Of::Example(package, example, words) => {
                cargo.args([
                    "run",
                    "--release",
                    "-p",
                    package,
                    "--example",
                    example,
                    "--",
                ]);
                default = words;
            }
            Of::Criterion => {
                cargo.args(["bench", "-p", "benches", "--"]);
            }
        }
        if arguments.is_empty() {
            cargo.args(default);
        }
        cargo.args(arguments);
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use std::collections::BTreeSet;
    use std::fs;

    /// Examples that measure nothing.
    const OTHERS: [&str; 12] = [
        "capture",
        "ipmmu",
        "long_tables",
        "queue",
        "relay",
        "rng",
        "rockchip",
        "smmu_v2",
        "symbols",
        "translated",
        "vfio_listener",
        "virtio",
    ];

    #[test]
    fn every_subcommand_of_benches_is_listed() {
        let path = crate::workspace().join("benches/src/main.rs");
        let text = fs::read_to_string(path).unwrap();
        // `Name(module::Args),` and, for what a measurement starts itself,
        // `#[command(hide = true)]` before it.
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut found = Vec::new();
        for (before, line) in lines.iter().zip(lines.iter().skip(1)) {
            if let Some((_, module)) = line.split_once('(')
                && let Some(module) = module.strip_suffix("::Args),")
                && !before.contains("hide")
            {
                found.push(module.replace('_', "-"));
            }
        }
        let listed = MEASUREMENTS
            .iter()
            .filter(|each| matches!(each.command, Of::Benches));
        let listed: Vec<&str> = listed.map(|each| each.name).collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn every_example_that_measures_is_listed() {
        let Graph(graph) = Graph::read().unwrap();
        let mut listed = BTreeSet::new();
        for each in MEASUREMENTS {
            if let Of::Example(package, example, _) = each.command {
                listed.insert((package.to_owned(), example.to_owned()));
            }
        }
        let mut found = BTreeSet::new();
        for (name, package) in &graph {
            let examples = crate::workspace().join(&package.directory).join("examples");
            for entry in fs::read_dir(examples).into_iter().flatten() {
                let path = entry.unwrap().path();
                let example = path.file_stem().unwrap().to_string_lossy().into_owned();
                if !OTHERS.contains(&example.as_str()) {
                    found.insert((name.clone(), example));
                }
            }
        }
        assert_eq!(found, listed, "or name it among those that measure nothing");
    }

    #[test]
    fn arguments_replace_those_that_are_given_else() {
        let words = |arguments: &[String]| {
            let command = find("verify-cost").unwrap().command(arguments);
            let words = command
                .get_args()
                .map(|word| word.to_string_lossy().into_owned());
            words.last().unwrap_or_default()
        };
        assert_eq!(words(&[]), "ipmmu");
        assert_eq!(words(&["virtio-iommu".into()]), "virtio-iommu");
    }

    #[test]
    fn a_measurement_that_is_not_there_is_a_sentence() {
        let error = find("nothing").unwrap_err().to_string();
        assert!(
            error.contains("\"nothing\"") && error.contains("guest-io"),
            "{error}"
        );
    }
}
