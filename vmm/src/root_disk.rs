//! The guest that installs packages on a root disk, run on this machine.

use std::fs::File;
use std::io::Write;

use guest_images::encode_command;
use guest_images::root_disk::{Installer, Job};
use vmm_machine::{ByteSize, Config, ConsoleSink, DiskConfig, Flow, Limits, Machine, Reason};

/// Memory of that guest: it holds one unpacked package.
const MEMORY: ByteSize = ByteSize(1 << 30);

/// Runs the guest that installs packages, in virtual time, so that the same packages make the same
/// disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstallerGuest;

struct ToFile(File);

impl ConsoleSink for ToFile {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        // A full disk shows when the console is read.
        let _ = self.0.write_all(bytes);
        Flow::Continue
    }
}

impl Installer for InstallerGuest {
    fn install(&mut self, job: &Job) -> Result<(), String> {
        let cannot = |why: &dyn std::fmt::Display| format!("could not be run ({why})");
        let packages = DiskConfig {
            read_only: true,
            ..DiskConfig::new(&job.packages)
        };
        let config = Config {
            kernel: job.kernel.clone(),
            initrd: Some(job.initramfs.clone()),
            cmdline: format!("console=ttyS0 panic=-1 {}", encode_command(&job.command)),
            memory: MEMORY,
            disks: vec![DiskConfig::new(&job.target), packages],
            epoch: Some(job.epoch),
            ..Config::default()
        };
        let console = File::create(&job.console).map_err(|why| cannot(&why))?;
        let mut machine = Machine::builder(&config, Box::new(ToFile(console)))
            .build()
            .map_err(|why| cannot(&why))?;
        match machine.run(Limits::default()).reason {
            Reason::PowerOff => Ok(()),
            reason => Err(reason.sentence().to_owned()),
        }
    }
}
