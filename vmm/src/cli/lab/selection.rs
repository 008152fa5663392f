//! Which cases of the lab run, on which kernels, and running them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use guest_images::{Cache, catalog};
use vmm::Accel;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::lab::matrix::Seen;
use vmm::lab::{Case, Host, Instruments, Lab};
use vmm::sanitizer::Options;
use vmm::{GuestKernel, KernelChoice, KernelError};
use vmm_machine::MAX_CPUS;

use super::{Verdict, line};
use crate::cli::UserError;
use crate::cli::guest::width;
use crate::cli::host::HostArgs;
use crate::cli::install;
use crate::cli::sandbox::{self, Policy};
use crate::cli::stdout::print;
use crate::cli::values::{jobs_or_cores, word};

/// Which cases, on what.
#[derive(Debug, clap::Args)]
pub struct Selection {
    /// Scenarios: names from `vmm lab list`, beginnings of such names up to a dot, or files
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    pub names: Vec<String>,
    /// All scenarios that are shipped; those of arm64 kernels only with --accel
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// How many to run at once [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Who executes the guests: emulated (in virtual time), kvm (the host's processor, in its
    /// time), or auto [default: emulated]
    #[arg(
        long,
        value_name = "auto|emulated|kvm",
        value_parser = word::<Accel>,
        default_value = "emulated",
        hide_default_value = true
    )]
    accel: Accel,
    /// In the host's time, how many times as long as written a run may take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), default_value_t = 1)]
    patience: u32,
    /// Look for mistakes that guests make with DMA, and compare them with those that scenarios
    /// expect: dma for all kinds, or dma=KIND,...; see docs/sanitizer.md
    #[arg(long, value_name = "dma[=KIND,...]")]
    pub sanitize: Option<Options>,
    #[command(flatten)]
    host: HostArgs,
}

impl Selection {
    /// Returns who executes the guests.
    pub fn host(&self) -> Host {
        Host {
            accel: self.accel,
            // Virtual time is the same on every host.
            patience: match self.accel {
                Accel::Emulated => 1,
                Accel::Auto | Accel::Kvm => self.patience,
            },
        }
    }

    /// Returns the cases that are named.
    pub fn cases(&self) -> Result<Vec<Case>, UserError> {
        let lab = Lab::shipped()?;
        if self.all {
            let mut cases = lab.cases().to_vec();
            if self.accel != Accel::Emulated {
                cases.extend_from_slice(lab.arm64());
            }
            return Ok(cases);
        }
        let mut cases = Vec::new();
        for name in &self.names {
            cases.extend(lab.select(name)?);
        }
        Ok(cases)
    }

    /// Makes sure that this host has what obtaining the images of all these runs takes, before the
    /// first run.
    fn prepare_host(&self, cases: &[Case], choices: &[KernelChoice]) -> Result<(), UserError> {
        self.host.apply()?;
        let mut images = BTreeSet::new();
        for choice in choices {
            match choice {
                KernelChoice::Image(name) => drop(images.insert(name.as_str())),
                // A kernel from a file still runs with the image's initial file system.
                KernelChoice::OfImage | KernelChoice::File { .. } => {
                    images.extend(cases.iter().map(|case| case.machine.image.as_str()));
                }
            }
        }
        let images: Vec<&str> = images.into_iter().collect();
        install::prepare_host(&Cache::open()?, &images)
    }

    /// Finds every mistake that can be found before anything is obtained.
    fn check(&self, cases: &[Case], choices: &[KernelChoice]) -> Result<(), UserError> {
        let host = self.host();
        host.check()?;
        let told = |why: KernelError| UserError::new(why.to_string());
        for choice in choices {
            let file = choice.width().map_err(told)?;
            for case in cases {
                let image = choice.check(&case.machine.image).map_err(told)?;
                let width = file.map_or_else(|| width(image), Ok)?;
                check_board(case, image)?;
                vmm::lab::check(host, case, image, width)?;
            }
        }
        Ok(())
    }

    /// Obtains the kernels for all runs, by image; one map for each choice. This is done before the
    /// first guest runs, as a process that runs guests obtains nothing any more.
    pub fn kernels(
        &self,
        cases: &[Case],
        choices: &[KernelChoice],
    ) -> Result<Vec<Kernels>, UserError> {
        self.check(cases, choices)?;
        self.prepare_host(cases, choices)?;
        choices.iter().map(|choice| obtain(cases, choice)).collect()
    }

    /// Returns how many cases run at once at most.
    pub fn jobs(&self) -> usize {
        jobs_or_cores(self.jobs).into()
    }

    /// Runs `cases`, several at once, and shows each as it ends, in their order.
    pub fn judge(
        &self,
        cases: &[Case],
        kernels: &Kernels,
        types: &TypesFrom,
    ) -> Result<Vec<Verdict>, UserError> {
        let host = self.host();
        let instruments = Instruments {
            types: types.clone(),
            sanitize: self.sanitize.clone(),
        };
        // `clamp` panics if its upper bound is below the lower one, as without cases.
        let jobs = self.jobs().clamp(1, cases.len().max(1));
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, Verdict>> = Mutex::default();
        let shown = Mutex::new(0_usize);
        let work = || {
            loop {
                // Relaxed: only the number must be unique; the locks below hand over the verdicts.
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else {
                    return;
                };
                // `obtain` has made an entry for the image of every case.
                let kernel = &kernels[&case.machine.image];
                let verdict = vmm::lab::run_on(host, case, kernel, &instruments);
                // Both locks until the lines are printed, or another thread could print a later
                // case in between.
                let mut shown = shown.lock().unwrap_or_else(|e| e.into_inner());
                let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
                done.insert(index, verdict);
                while let Some(verdict) = done.get(&*shown) {
                    print(&line(&cases[*shown].name, &Seen::new(verdict)));
                    *shown += 1;
                }
            }
        };
        std::thread::scope(|scope| vmm_base::thread::spawn_several(scope, "lab", jobs, work))?;
        let done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(done.into_values().collect())
    }
}

/// Refuses an image whose kernel comes without the device tree of a case's board.
fn check_board(case: &Case, image: &str) -> Result<(), UserError> {
    let board = case.topology.board.facts();
    let Some(tree) = board.tree else {
        return Ok(());
    };
    catalog::find(image)?.check_board(tree).map_err(|_| {
        UserError::new(format!(
            "{} is about a board whose device tree, {tree}, does not come with the kernel of {image}: name another \
             image, such as {}",
            case.name, board.image
        ))
    })
}

/// The kernels of one choice, by image.
pub type Kernels = BTreeMap<String, GuestKernel>;

/// Obtains the kernels of one choice.
fn obtain(cases: &[Case], choice: &KernelChoice) -> Result<Kernels, UserError> {
    let told = |why: KernelError| UserError::new(why.to_string());
    let mut kernels = Kernels::new();
    for case in cases {
        let image = &case.machine.image;
        let kernel = match kernels.entry(image.clone()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let kernel = GuestKernel::obtain(image, choice, &mut install::terminal());
                place.insert(kernel.map_err(told)?)
            }
        };
        let board = kernel.obtain_board(case.topology.board, &mut install::terminal());
        board.map_err(told)?;
    }
    Ok(kernels)
}

/// Restricts this process to what guests of these kernels take, so many at once, and to its own
/// outputs.
pub fn enter_sandbox<'p>(
    kernels: &[Kernels],
    outputs: impl IntoIterator<Item = &'p Option<PathBuf>>,
    report: Option<&Path>,
    jobs: usize,
) -> Result<(), UserError> {
    let mut policy = Policy::of_images()?;
    for kernel in kernels.iter().flat_map(BTreeMap::values) {
        policy.read(&kernel.path);
    }
    for path in outputs {
        policy.output(path.as_deref());
    }
    if let Some(directory) = report {
        // A rule is about a directory that exists, and inside the sandbox none can be made.
        let made = std::fs::create_dir_all(directory);
        made.map_err(|error| {
            let name = directory.display();
            UserError::new(format!("cannot make the report directory {name}: {error}"))
        })?;
        policy.directory(directory);
    }
    policy.enter()?;
    sandbox::filter(jobs.saturating_mul(MAX_CPUS.into()))
}
