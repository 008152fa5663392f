//! The same guest with a root disk here and under QEMU, its console on standard output.

use std::path::PathBuf;
use std::process::Command;

use guest_images::root_disk::ROOT_WORD;
use guest_images::{Cache, Terminal};
use vmm::ByteSize;
use vmm::root_disk::InstallerGuest;

use crate::{guest, qemu};

/// A guest with a root disk.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The root disk's name.
    pub name: &'static str,
    kernel: PathBuf,
    initrd: PathBuf,
    disk: PathBuf,
    memory: ByteSize,
    cores: u8,
    /// Words of the kernel command line beyond those that both sides need.
    words: String,
}

impl Guest {
    /// Returns the guest of a root disk, which is made if it is not in the cache.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(name: &str, memory: ByteSize, cores: u8, words: &str) -> anyhow::Result<Self> {
        let cache = Cache::open()?;
        let root = cache.obtain_root_disk(name, &mut InstallerGuest, &mut Terminal::new())?;
        let image = cache.obtain(root.spec.image, &mut Terminal::new())?;
        Ok(Self {
            name: root.spec.name,
            initrd: cache.root_initramfs(&image)?,
            kernel: image.kernel,
            disk: root.disk,
            memory,
            cores,
            words: words.to_owned(),
        })
    }

    /// Returns the kernel command line with that console.
    pub fn cmdline(&self, console: &str) -> String {
        let words = &self.words;
        format!("console={console} panic=-1 {ROOT_WORD}/dev/vda {words}")
            .trim_end()
            .to_owned()
    }

    /// Returns the command that runs it here, in virtual time.
    ///
    /// # Errors
    /// This program's file cannot be found.
    pub fn here(&self) -> anyhow::Result<Command> {
        let guest = guest::Args {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            cmdline: self.cmdline("ttyS0"),
            memory: self.memory,
            console: "/dev/stdout".into(),
            disk: Some(self.disk.clone()),
            cpus: self.cores,
            interpreted: false,
            dtb: None,
            instructions: None,
            again: false,
        };
        guest.command()
    }

    /// Returns the command that runs it under QEMU, with a thread for each core.
    pub fn under_qemu(&self) -> Command {
        let mut command = qemu::machine(self.cores, self.memory);
        command.args(["-serial", "stdio", "-kernel"]);
        command.arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.arg("-append").arg(self.cmdline("ttyAMA0"));
        // What is written is forgotten on either side.
        let drive = format!(
            "file={},if=none,id=root,format=raw,snapshot=on",
            self.disk.display()
        );
        command.args(["-drive", &drive]);
        command.args(["-device", "virtio-blk-device,drive=root"]);
        command.args(["-device", "virtio-rng-device"]);
        command
    }
}
