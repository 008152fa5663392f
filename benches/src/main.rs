//! Benchmarks of whole guests and of the translation path, and comparisons with peers.

mod boot;
mod code;
mod guest;
mod guest_io;
mod history;
mod inject;
mod qemu;
mod requests;
mod snapshot;
mod userland;

use std::process::ExitCode;

use benches::translation;
use clap::Parser;

/// Measures whole guests and the translation path.
#[derive(Debug, Parser)]
#[command(name = "benches", version, max_term_width = 100)]
enum Command {
    /// Boot the same kernel here and under QEMU, in turns, and compare the times
    Boot(boot::Args),
    /// Time boots with the code of a boot before and without, or count what the host executes
    Code(code::Args),
    /// Time a guest that copies from and to its disk, with an IOMMU before it and without
    GuestIo(guest_io::Args),
    /// Time going back in the run of a guest, over all of it and step by step
    History(history::Args),
    /// Count the runs of a fault plan that a second has room for, from a snapshot and with a reboot
    /// for each
    Inject(inject::Args),
    /// Time virtio-iommu's requests through a virtqueue in memory
    Requests(requests::Args),
    /// Time saving a guest, and going on from there many times, against booting it each time
    Snapshot(snapshot::Args),
    /// Time DMA through viommu, through vm-memory's IOMMU and without one, doing the same work in
    /// turns
    Translation(translation::Args),
    /// Run programs in a Debian system here and under QEMU, in turns, and compare the processor
    /// time
    Userland(userland::Args),
    /// One run of a guest here; `boot` starts it as a process of its own
    #[command(hide = true)]
    Guest(guest::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Boot(args) => boot::run(&args),
        Command::Code(args) => code::run(&args),
        Command::GuestIo(args) => guest_io::run(&args),
        Command::History(args) => history::run(&args),
        Command::Inject(args) => inject::run(&args),
        Command::Requests(args) => requests::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Translation(args) => translation::run(&args),
        Command::Userland(args) => userland::run(&args),
        Command::Guest(args) => guest::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::from(2)
        }
    }
}
