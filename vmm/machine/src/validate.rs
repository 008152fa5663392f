//! Whether a machine can be as its user describes it: what can be told without opening a file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vmm_base::ByteSize;

use crate::board::Board;
use crate::config::{
    Config, ConfigError, ConsoleConfig, MAX_CMDLINE, MAX_CPUS, MAX_DISK_QUEUES, MIN_MEMORY,
    RAM_ALIGN,
};
use crate::layout::Range;

impl Config {
    /// Checks everything that can be checked without opening a file.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.kernel.as_os_str().is_empty() {
            return Err(ConfigError::NoKernel);
        }
        if self.initrd == Some(PathBuf::new()) {
            return Err(ConfigError::InitrdUnnamed);
        }
        if self.console == ConsoleConfig::File(PathBuf::new()) {
            return Err(ConfigError::ConsoleUnnamed);
        }
        if self.cpus == 0 || self.cpus > MAX_CPUS {
            return Err(ConfigError::Cpus(self.cpus));
        }
        self.validate_board()?;
        self.validate_ram()?;
        // The limit counts the final NUL.
        if self.cmdline.len() >= MAX_CMDLINE {
            return Err(ConfigError::CmdlineLong(self.cmdline.len()));
        }
        // A string of the device tree cannot hold a NUL; other such characters are mistakes.
        if !self.cmdline.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(ConfigError::CmdlineCharacter);
        }
        self.validate_disks()?;
        self.validate_vhost_user()?;
        self.validate_nets()?;
        self.validate_accel()?;
        self.validate_clocks()?;
        self.validate_iommus()?;
        self.validate_dma_tester()?;
        // The names that a user gives may be those of other devices.
        let mut names = BTreeSet::new();
        // Last of all: a board is laid out of a configuration that is valid otherwise.
        let mut devices = Board::new(self).devices.into_iter();
        match devices.find(|entry| !names.insert(entry.name.clone())) {
            Some(entry) => Err(ConfigError::NameTwice(entry.name)),
            None => Ok(()),
        }
    }

    fn validate_ram(&self) -> Result<(), ConfigError> {
        let (Range { base, size }, board) = (self.ram(), self.board.facts());
        if !base.is_multiple_of(RAM_ALIGN) {
            return Err(ConfigError::MemoryBaseAlign(ByteSize(base)));
        }
        if !size.is_multiple_of(RAM_ALIGN) {
            return Err(ConfigError::MemoryAlign(self.memory));
        }
        if size < MIN_MEMORY {
            return Err(ConfigError::MemorySmall(self.memory));
        }
        if base < board.ram_min {
            return Err(ConfigError::MemoryBaseLow {
                base: ByteSize(base),
                min: ByteSize(board.ram_min),
            });
        }
        // Both are what a user typed: their sum may not fit 64 bits.
        if base.checked_add(size).is_none_or(|end| end > board.ram_max) {
            return Err(ConfigError::MemoryLarge {
                base: ByteSize(base),
                size: self.memory,
                board: self.board,
            });
        }
        Ok(())
    }

    fn validate_disks(&self) -> Result<(), ConfigError> {
        let most = self.board.facts().max_disks();
        let found = self.disks.len() + self.vhost_user.len() + self.nets.len();
        if found > most {
            return Err(ConfigError::TooManyDisks { found, most });
        }
        for disk in &self.disks {
            if disk.queues == 0 || disk.queues > MAX_DISK_QUEUES {
                return Err(ConfigError::DiskQueues(disk.path.clone(), disk.queues));
            }
            if disk.path.as_os_str().is_empty() {
                return Err(ConfigError::DiskUnnamed);
            }
            if disk.read_only && disk.overlay {
                return Err(ConfigError::DiskOverlayReadOnly(disk.path.clone()));
            }
        }
        Ok(())
    }
}
