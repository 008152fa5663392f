//! What a command asks of the disk: its FIS, understood.

use super::spec::{command, error, fis};

/// The registers of a FIS from the host (Serial ATA 3.0, 10.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFile {
    /// Whether it has a command, and not control only.
    pub has_command: bool,
    /// The command.
    pub command: u8,
    /// Features.
    pub features: u16,
    /// Address, of 48 bits.
    pub lba: u64,
    /// Device.
    pub device: u8,
    /// Count.
    pub count: u16,
    /// Control.
    pub control: u8,
}

impl TaskFile {
    /// Returns the registers of a FIS from the host, if it is one.
    pub fn parse(bytes: &[u8; super::spec::FIS_BYTES]) -> Option<Self> {
        let lba = [
            bytes[4], bytes[5], bytes[6], bytes[8], bytes[9], bytes[10], 0, 0,
        ];
        (bytes[0] == fis::TO_DEVICE).then(|| Self {
            has_command: bytes[1] & fis::COMMAND != 0,
            command: bytes[2],
            features: u16::from_le_bytes([bytes[3], bytes[11]]),
            lba: u64::from_le_bytes(lba),
            device: bytes[7],
            count: u16::from_le_bytes([bytes[12], bytes[13]]),
            control: bytes[15],
        })
    }

    /// Returns address and number of sectors of a command with addresses of 28 bits.
    fn short(&self) -> (u64, u64) {
        let lba = self.lba & 0xff_ffff | u64::from(self.device & 0xf) << 24;
        // 0 stands for as many as the register could not hold.
        let count = match self.count & 0xff {
            0 => 0x100,
            count => u64::from(count),
        };
        (lba, count)
    }

    /// Returns address and number of sectors of a command with addresses of 48 bits, whose count is
    /// in this register.
    fn long(&self, count: u16) -> (u64, u64) {
        let count = match count {
            0 => 0x1_0000,
            count => u64::from(count),
        };
        (self.lba, count)
    }

    /// Returns what the command asks for.
    ///
    /// # Errors
    /// The disk does not do that: the bits of its error register.
    pub fn task(&self) -> Result<Task, u8> {
        let sectors = |(first, count)| Sectors { first, count };
        let short = || sectors(self.short());
        let long = || sectors(self.long(self.count));
        let queued = || sectors(self.long(self.features));
        let move_data = |sectors, write, protocol| Task::Move {
            sectors,
            write,
            protocol,
        };
        Ok(match self.command {
            command::READ => move_data(short(), false, Protocol::Pio),
            command::READ_EXT => move_data(long(), false, Protocol::Pio),
            command::READ_DMA => move_data(short(), false, Protocol::Dma),
            command::READ_DMA_EXT => move_data(long(), false, Protocol::Dma),
            command::READ_QUEUED => move_data(queued(), false, Protocol::Queued),
            command::WRITE => move_data(short(), true, Protocol::Pio),
            command::WRITE_EXT => move_data(long(), true, Protocol::Pio),
            command::WRITE_DMA => move_data(short(), true, Protocol::Dma),
            command::WRITE_DMA_EXT | command::WRITE_FUA => move_data(long(), true, Protocol::Dma),
            command::WRITE_QUEUED => move_data(queued(), true, Protocol::Queued),
            command::VERIFY => Task::Verify(short()),
            command::VERIFY_EXT => Task::Verify(long()),
            command::FLUSH | command::FLUSH_EXT => Task::Flush,
            command::IDENTIFY => Task::Identify,
            command::READ_LOG => Task::ReadLog {
                log: self.lba.to_le_bytes()[0],
            },
            // Of the few settings that matter to Linux none changes anything here.
            command::SET_FEATURES | command::STANDBY | command::IDLE => Task::Nothing,
            command::POWER_MODE => Task::PowerMode,
            _ => return Err(error::ABORTED),
        })
    }

    /// Returns the tag of a queued command.
    pub const fn tag(&self) -> u32 {
        (self.count >> 3 & 0x1f) as u32
    }
}

/// A range of the disk, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// The first.
    pub first: u64,
    /// How many: 1 to 65536.
    pub count: u64,
}

/// How the data of a command is moved, and its end told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// As DMA here as well, but what is read ends with a PIO setup FIS.
    Pio,
    /// It ends with a register FIS.
    Dma,
    /// It ends with a set device bits FIS.
    Queued,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Data is moved.
    Move {
        /// Which.
        sectors: Sectors,
        /// To the disk.
        write: bool,
        /// How.
        protocol: Protocol,
    },
    /// Sectors are looked at.
    Verify(Sectors),
    /// What was written survives from now on.
    Flush,
    /// What the disk is.
    Identify,
    /// A log.
    ReadLog {
        /// Which.
        log: u8,
    },
    /// Whether the disk is active.
    PowerMode,
    /// Nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(usize, u8)]) -> TaskFile {
        let mut bytes = [0; super::super::spec::FIS_BYTES];
        (bytes[0], bytes[1]) = (0x27, 0x80);
        for (at, byte) in fields {
            bytes[*at] = *byte;
        }
        TaskFile::parse(&bytes).unwrap()
    }

    #[test]
    fn addresses_have_28_or_48_bits_and_a_count_of_zero_is_the_most() {
        let fields = [(4, 1), (5, 2), (6, 3), (7, 0x44), (8, 5), (12, 0)];
        let sectors = |command: u8| {
            let fields = [&fields[..], &[(2, command)]].concat();
            match parse(&fields).task().unwrap() {
                Task::Move { sectors, .. } => sectors,
                other => panic!("{other:?}"),
            }
        };
        let (first, count) = (0x0403_0201, 256);
        assert_eq!(sectors(command::READ_DMA), Sectors { first, count });
        let (first, count) = (0x0503_0201, 65536);
        assert_eq!(sectors(command::WRITE_DMA_EXT), Sectors { first, count });
        let queued = parse(&[(2, 0x60), (3, 2), (11, 1), (12, 7 << 3)]);
        assert_eq!(queued.tag(), 7);
        let Ok(Task::Move { sectors, .. }) = queued.task() else {
            panic!("it moves data");
        };
        assert_eq!(sectors.count, 0x102);
    }

    #[test]
    fn what_is_not_known_is_aborted() {
        let known = (0..=255).filter(|command| parse(&[(2, *command)]).task().is_ok());
        assert_eq!(known.count(), 21);
        assert_eq!(parse(&[(2, 0xb0)]).task(), Err(error::ABORTED));
        assert_eq!(TaskFile::parse(&[0; 20]), None);
    }
}
