//! A virtual machine: memory, cores, interrupt lines.

#![expect(
    unsafe_code,
    reason = "KVM is given the memory of the guest by its address"
)]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_ARM_VCPU_EL1_32BIT, KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2,
    KVM_CAP_ARM_NISV_TO_USER, kvm_enable_cap, kvm_userspace_memory_region, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, DeviceFd, IoEventAddress, Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_base::{Interrupt, Waker, Width};
use vmm_devices::virtio::worker::Subscriber;
use vmm_sys_util::eventfd::EventFd;

use super::super::accel::{GicMap, KvmError, Platform};
use super::super::saved::GicRegister;
use super::call::failed;
use super::lines::{self, Line};
use super::{gic, gic_state};
use crate::entry::Irq;
use vmm_devices::ram::GuestRam;

/// A virtual machine of KVM.
#[derive(Debug)]
pub struct Vm {
    fd: Arc<VmFd>,
    platform: Platform,
    /// Interrupts of its controller, once it is populated.
    irqs: u32,
    cores: Mutex<Vec<VcpuFd>>,
    /// The lines that must be looked at when the guest has ended an interrupt.
    lines: Mutex<Vec<Arc<Line>>>,
    // What the kernel reaches as long as the machine exists.
    gic: DeviceFd,
    ram: Option<Arc<GuestRam>>,
    waker: Arc<Waker>,
}

impl Vm {
    /// Creates an empty machine for a guest of that width, if this host can have one.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn open(width: Width) -> Result<Self, KvmError> {
        let kvm = Kvm::new()
            .map_err(|error| KvmError::Open(io::Error::from_raw_os_error(error.errno())))?;
        // Asked for one by one, before anything is made: a call that fails
        // later does not say what is missing.
        let needed = [
            (Cap::OneReg, "access to registers"),
            (Cap::ArmPsci02, "PSCI 0.2"),
            (Cap::DeviceCtrl, "device control"),
            (Cap::Ioeventfd, "ioeventfd"),
            (Cap::IrqRouting, "routing of interrupts"),
            (Cap::Irqfd, "irqfd"),
            (Cap::IrqfdResample, "irqfd for lines that stay high"),
        ];
        for (cap, what) in needed {
            if !kvm.check_extension(cap) {
                return Err(KvmError::Lacks(what));
            }
        }
        if width == Width::Bits32 && !kvm.check_extension(Cap::ArmEl132bit) {
            return Err(KvmError::No32Bit);
        }
        let fd = kvm
            .create_vm()
            .map_err(failed("create a virtual machine"))?;
        let (irqchip, gic) = gic::create(&fd).ok_or(KvmError::NoGic)?;
        Ok(Self {
            fd: Arc::new(fd),
            platform: Platform {
                width,
                irqchip,
                accelerated: true,
            },
            irqs: 0,
            cores: Mutex::default(),
            lines: Mutex::default(),
            gic,
            ram: None,
            waker: Arc::default(),
        })
    }

    /// Returns what the machine is.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// Gives it memory, cores and an interrupt controller, at the place that `map` says, whose
    /// lines note their interrupts in `waker`, and asks KVM for exits where an instruction accesses
    /// a device that the processor does not describe to KVM, such as a load of two registers.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn populate(
        &mut self,
        cpus: u8,
        map: &GicMap,
        ram: Arc<GuestRam>,
        waker: &Arc<Waker>,
    ) -> Result<(), KvmError> {
        self.waker = Arc::clone(waker);
        self.give_memory(&ram)?;
        self.ram = Some(ram);
        let cores = (0..cpus).map(|index| self.core(index));
        let cores = cores.collect::<Result<Vec<_>, _>>()?;
        self.cores = Mutex::new(cores);
        // Where KVM is older than Linux 5.5, such an access ends the run.
        let _ = self.fd.enable_cap(&kvm_enable_cap {
            cap: KVM_CAP_ARM_NISV_TO_USER,
            ..kvm_enable_cap::default()
        });
        gic::set_up(&self.gic, self.platform.irqchip, map)?;
        self.irqs = map.irqs;
        lines::route(&self.fd, map.irqs)
    }

    /// Returns the line of an interrupt. To be asked for once, when the machine is populated.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn line(&self, irq: Irq) -> Result<Arc<dyn Interrupt>, KvmError> {
        let line = Arc::new(Line::new(&self.fd, irq, Arc::clone(&self.waker))?);
        self.lines().push(Arc::clone(&line));
        Ok(line)
    }

    /// Returns the lines, whose events the device thread must serve.
    pub fn subscribers(&self) -> Vec<Subscriber> {
        let lines = self.lines();
        let lines = lines.iter().map(|line| Arc::clone(line) as Subscriber);
        lines.collect()
    }

    fn give_memory(&self, ram: &GuestRam) -> Result<(), KvmError> {
        for (slot, region) in (0..).zip(ram.iter()) {
            let fail = |error| KvmError::Call {
                what: "find the guest's memory",
                source: io::Error::other(error),
            };
            let host = region
                .get_host_address(vm_memory::MemoryRegionAddress(0))
                .map_err(fail)?;
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: host as u64,
            };
            // SAFETY: the addresses are those of a whole region of `ram`, a mapping made by mmap,
            // which `populate` keeps in `self` for as long as the machine exists; Rust code reaches
            // it through volatile accesses only.
            unsafe { self.fd.set_user_memory_region(region) }
                .map_err(failed("take the guest's memory"))?;
        }
        Ok(())
    }

    /// Creates core `index`; all but the first are off until the guest switches them on.
    fn core(&self, index: u8) -> Result<VcpuFd, KvmError> {
        let core = self
            .fd
            .create_vcpu(u64::from(index))
            .map_err(failed("create a core"))?;
        let mut init = kvm_vcpu_init::default();
        self.fd
            .get_preferred_target(&mut init)
            .map_err(failed("name its kind of core"))?;
        // Without it KVM answers PSCI 0.1 only, with other function numbers than the device tree's.
        let mut features = 1 << KVM_ARM_VCPU_PSCI_0_2;
        if self.platform.width == Width::Bits32 {
            features |= 1 << KVM_ARM_VCPU_EL1_32BIT;
        }
        // The guest switches the others on by PSCI.
        if index > 0 {
            features |= 1 << KVM_ARM_VCPU_POWER_OFF;
        }
        init.features[0] |= features;
        core.vcpu_init(&init).map_err(failed("initialise a core"))?;
        Ok(core)
    }

    /// Makes a write of `value` to `addr` signal `event` instead of ending the core's run.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn signal_on_write(&self, addr: u64, value: u32, event: &EventFd) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Mmio(addr), value)
            .map_err(failed("watch a queue's notifications"))
    }

    /// Returns the state of the interrupt controller of a machine of so many cores, which stand
    /// still.
    pub(super) fn save_gic(&self, cores: u64) -> Result<Vec<GicRegister>, KvmError> {
        gic_state::save(&self.gic, self.platform.irqchip, (cores, self.irqs.into()))
    }

    /// Restores the state of the interrupt controller.
    pub(super) fn restore_gic(&self, cores: u64, saved: &[GicRegister]) -> Result<(), KvmError> {
        gic_state::restore(
            &self.gic,
            self.platform.irqchip,
            (cores, self.irqs.into()),
            saved,
        )
    }

    /// Returns the interrupts of the lines that are high.
    pub(super) fn high_lines(&self) -> Vec<u32> {
        let lines = self.lines();
        let high = lines.iter().filter(|line| line.is_high());
        high.map(|line| line.id()).collect()
    }

    /// Raises these lines, and lowers the others.
    pub(super) fn set_lines(&self, high: &[u32]) {
        for line in self.lines().iter() {
            // A line knows its level, so that only changes reach KVM.
            line.set(high.contains(&line.id()));
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the guest's memory, once it has been given.
    pub(super) fn ram(&self) -> Option<Arc<GuestRam>> {
        self.ram.clone()
    }

    /// Returns whether this host's KVM tells what a core is about to take.
    pub(super) fn tells_events(&self) -> bool {
        self.fd.check_extension(Cap::VcpuEvents)
    }

    /// Returns how many breakpoints this host's processor has registers for.
    pub(super) fn breakpoints(&self) -> i32 {
        self.fd.check_extension_int(Cap::DebugHwBps)
    }

    /// Takes the cores, once.
    pub(super) fn take_cores(&self) -> Vec<VcpuFd> {
        let mut cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cores)
    }
}
