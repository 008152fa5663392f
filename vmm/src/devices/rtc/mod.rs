//! The real-time clock: a PL031 (Arm DDI 0224C) whose time is the machine's.
//!
//! The register file is `vm-superio`'s. Its data register, though, always shows the time of the host, which would make
//! every run another; so the data and load registers are ours, over the machine's clock. As in `vm-superio`,
//! the match register stores but raises no alarm.

use std::sync::{Arc, Mutex, MutexGuard};

use arm32::Clock;
use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_superio::rtc_pl031::NoEvents;
use vm_superio::{Rtc as Registers, RtcState as RegisterState};

/// Data register: seconds, read-only.
const RTCDR: u16 = 0x000;
/// Load register: sets the seconds.
const RTCLR: u16 = 0x008;

const NS: u64 = 1_000_000_000;

struct Inner {
    registers: Registers<NoEvents>,
    /// What the clock shows at power-on.
    epoch: u32,
    /// What was last loaded.
    load: u32,
}

/// What the real-time clock *is*, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcState {
    /// Its registers.
    #[serde(with = "RegisterData")]
    pub registers: RegisterState,
    /// What it shows at power-on.
    pub epoch: u32,
    /// What was last loaded.
    pub load: u32,
}

/// [`RegisterState`], which has no `serde` of its own.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RegisterState")]
struct RegisterData {
    lr: u32,
    offset: i64,
    mr: u32,
    imsc: u32,
    ris: u32,
}

/// The real-time clock.
pub struct Rtc {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

impl Rtc {
    /// A clock that shows `epoch` (seconds since 1970-01-01 00:00 UTC) at power-on.
    pub fn new(clock: Arc<dyn Clock>, epoch: u32) -> Self {
        Self {
            clock,
            inner: Mutex::new(Inner {
                registers: Registers::new(),
                epoch,
                load: 0,
            }),
        }
    }

    /// The state, to be saved.
    pub fn save(&self) -> RtcState {
        let inner = self.inner();
        RtcState {
            registers: inner.registers.state(),
            epoch: inner.epoch,
            load: inner.load,
        }
    }

    /// Takes over a saved state.
    pub fn restore(&self, saved: &RtcState) {
        let RtcState {
            registers,
            epoch,
            load,
        } = saved;
        *self.inner() = Inner {
            registers: Registers::from_state(registers, NoEvents),
            epoch: *epoch,
            load: *load,
        };
    }

    /// Reads the register at `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        let Ok(offset) = u16::try_from(offset & !3) else {
            return 0;
        };
        let mut inner = self.inner();
        match offset {
            RTCDR => inner.epoch.wrapping_add(self.uptime()),
            RTCLR => inner.load,
            _ => {
                let mut data = [0; 4];
                inner.registers.read(offset, &mut data);
                u32::from_le_bytes(data)
            }
        }
    }

    /// Writes the register at `offset`.
    pub fn write(&self, offset: u64, value: u32) {
        let Ok(offset) = u16::try_from(offset) else {
            return;
        };
        let mut inner = self.inner();
        match offset {
            RTCDR => {}
            RTCLR => {
                inner.load = value;
                inner.epoch = value.wrapping_sub(self.uptime());
            }
            _ => inner.registers.write(offset, &value.to_le_bytes()),
        }
    }

    /// Seconds since power-on; the counter wraps as the device's does.
    fn uptime(&self) -> u32 {
        (self.clock.now_ns() / NS) as u32
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl DeviceMmio for Rtc {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let word = self.read(offset).to_le_bytes();
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = word.get((offset as usize & 3) + i).copied().unwrap_or(0);
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // The bus of a PrimeCell peripheral carries words only.
        if let Ok(word) = data.try_into().map(u32::from_le_bytes) {
            self.write(offset, word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    #[test]
    fn it_follows_the_machine_not_the_host() {
        let clock = Arc::new(VirtualClock::default());
        let rtc = Rtc::new(clock.clone(), 1_577_836_800);
        assert_eq!(rtc.read(0), 1_577_836_800);
        clock.skip_to(10 * NS + NS / 2);
        assert_eq!(rtc.read(0), 1_577_836_810);
        rtc.write(8, 1000);
        assert_eq!((rtc.read(0), rtc.read(8)), (1000, 1000));
        clock.skip_to(15 * NS);
        assert_eq!(rtc.read(0), 1005);
        rtc.write(0, 7);
        assert_eq!(rtc.read(0), 1005);
    }

    #[test]
    fn it_identifies_as_a_pl031() {
        let rtc = Rtc::new(Arc::new(VirtualClock::default()), 0);
        let id: Vec<u32> = (0xfe0..0x1000)
            .step_by(4)
            .map(|offset| rtc.read(offset))
            .collect();
        assert_eq!(id, [0x31, 0x10, 0x04, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    }

    #[test]
    fn odd_accesses_are_harmless() {
        let rtc = Rtc::new(Arc::new(VirtualClock::default()), 0x1234_5678);
        let mut byte = [0];
        rtc.mmio_read(MmioAddress(0), 1, &mut byte);
        assert_eq!(byte, [0x56]);
        let mut wide = [0xff; 8];
        rtc.mmio_read(MmioAddress(0), 0, &mut wide);
        assert_eq!(wide, [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
        rtc.mmio_write(MmioAddress(0), 8, &[1]);
        assert_eq!(rtc.read(0), 0x1234_5678);
        assert_eq!(rtc.read(u64::MAX), 0);
        rtc.write(u64::MAX, 1);
    }
}
