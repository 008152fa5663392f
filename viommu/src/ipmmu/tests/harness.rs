//! A machine of RAM and one IPMMU, with everything it does written down.

use std::sync::{Arc, Mutex};

use vm_memory::GuestMemoryMmap;

use crate::dma::DmaSpace;
use crate::event::{Event, Observer};
use crate::ipmmu::{Instance, Ipmmu, IpmmuConfig, IpmmuEvent, IpmmuObserver, Observers};
use crate::test_support::{self, RegisterMachine};

pub(super) use crate::test_support::{RAM, RAM_SIZE, page_at};

/// Offsets of context registers.
pub(super) const IMCTR: u64 = 0x00;
pub(super) const IMTTBCR: u64 = 0x08;
pub(super) const IMTTLBR0: u64 = 0x10;
pub(super) const IMTTUBR0: u64 = 0x14;
pub(super) const IMSTR: u64 = 0x20;
pub(super) const IMELAR: u64 = 0x30;

/// IMCTR bits.
pub(super) const MMUEN: u32 = 1;
pub(super) const FLUSH: u32 = 2;
pub(super) const INTEN: u32 = 4;

/// What observers are told, as text, and the interrupt's levels.
#[derive(Default)]
pub(super) struct Log(Mutex<Vec<String>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns what happened since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl IpmmuObserver for Log {
    fn event(&self, instance: &str, event: &IpmmuEvent) {
        self.push(format!("{instance}: {event}"));
    }
}

impl Observer for Log {
    fn event(&self, event: &Event) {
        match event {
            Event::BusError { address, .. } => self.push(format!("bus error at {address:#x}")),
            Event::StaleHit(hit) => self.push(format!("stale hit of {:#x}", hit.iova)),
            _ => {}
        }
    }
}

pub(super) struct Machine {
    pub(super) ram: Arc<GuestMemoryMmap>,
    pub(super) ipmmu: Ipmmu,
    pub(super) log: Arc<Log>,
}

impl Machine {
    pub(super) fn new(config: &IpmmuConfig) -> Self {
        let ram = test_support::ram();
        let log = Arc::new(Log::default());
        let line = Arc::clone(&log);
        let interrupt = move |level: bool| {
            line.push(format!("interrupt {}", if level { "high" } else { "low" }))
        };
        let observers = Observers {
            registers: Some(Arc::clone(&log) as Arc<dyn IpmmuObserver>),
            translation: Some(Arc::clone(&log) as Arc<dyn Observer>),
        };
        let memory = Arc::clone(&ram);
        let ipmmu = Ipmmu::new(memory, config, Box::new(interrupt), observers).unwrap();
        Self { ram, ipmmu, log }
    }

    pub(super) fn gen2() -> Self {
        Self::new(&IpmmuConfig::gen2("mmu"))
    }

    pub(super) fn instance(&self, number: usize) -> Instance {
        self.ipmmu.instance(number).unwrap()
    }

    /// Returns the offset of the bank that the driver uses.
    pub(super) fn bank(&self) -> u64 {
        self.ipmmu.features().bank
    }

    /// Reads a word of an instance, at an offset in the bank.
    pub(super) fn read_of(&self, instance: usize, register: u64) -> u32 {
        // Not 0, to notice bytes that the read leaves out.
        let mut word = [0xaa; 4];
        self.instance(instance)
            .read(self.bank() + register, &mut word);
        u32::from_le_bytes(word)
    }

    pub(super) fn write_of(&self, instance: usize, register: u64, value: u32) {
        self.instance(instance)
            .write(self.bank() + register, &value.to_le_bytes());
    }

    /// Returns what a bus master on a uTLB of the only instance sees.
    pub(super) fn dma(&self, utlb: usize) -> DmaSpace {
        self.instance(0).space(utlb).unwrap()
    }
}

/// Returns the offset of IMUCTR of a uTLB.
pub(super) const fn imuctr(utlb: u64) -> u64 {
    if utlb < 32 {
        0x300 + utlb * 16
    } else {
        0x600 + (utlb - 32) * 16
    }
}

/// Returns the offset of IMUASID of a uTLB.
pub(super) const fn imuasid(utlb: u64) -> u64 {
    imuctr(utlb) + 8
}

/// At offsets in the bank that the driver uses, of the root or the only instance.
impl RegisterMachine for Machine {
    type Descriptor = u64;

    fn ram(&self) -> &GuestMemoryMmap {
        &self.ram
    }

    fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        self.instance(0).read(self.bank() + offset, data);
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) {
        self.instance(0).write(self.bank() + offset, data);
    }
}
