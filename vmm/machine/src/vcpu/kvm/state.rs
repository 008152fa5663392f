//! Cores as plain data, and back.

use std::sync::{MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED, RegList, kvm_mp_state, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

use super::super::accel::KvmError;
use super::super::saved::{KvmCore, KvmState, SystemError};
use super::call::failed;
use super::debug::Shared;
use super::spec;
use super::vm::Vm;

/// The most registers that a core may have: as many as kvm-bindings lists. Those with SVE have some
/// 350.
const MAX_REGISTERS: usize = 500;
/// The widest one, in bytes: 2048 bits.
const WIDEST: usize = 256;

/// Returns the size in bytes of register `id`, which says so itself (KVM_REG_SIZE).
fn size(id: u64) -> usize {
    // At most `WIDEST`, whatever a file says.
    1 << (id >> 52 & 0xf).min(8)
}

fn read(fd: &VcpuFd, id: u64) -> Result<Vec<u8>, KvmError> {
    let mut bytes = [0; WIDEST];
    // A number that stands for more bytes than there are is refused before KVM sees it.
    fd.get_one_reg(id, &mut bytes)
        .map_err(failed("read a register"))?;
    Ok(bytes[..size(id)].to_vec())
}

/// Returns the system error that a core is about to take. An abort that a core is to take for an
/// access is in its registers already.
fn system_error(fd: &VcpuFd) -> Result<Option<SystemError>, KvmError> {
    let events = fd
        .get_vcpu_events()
        .map_err(failed("tell what a core is about to take"))?;
    let exception = events.exception;
    let syndrome = (exception.serror_has_esr != 0).then_some(exception.serror_esr);
    Ok((exception.serror_pending != 0).then_some(SystemError { syndrome }))
}

fn raise(fd: &VcpuFd, SystemError { syndrome }: SystemError) -> Result<(), KvmError> {
    let mut events = kvm_vcpu_events::default();
    events.exception.serror_pending = 1;
    events.exception.serror_has_esr = syndrome.is_some().into();
    events.exception.serror_esr = syndrome.unwrap_or_default();
    fd.set_vcpu_events(&events)
        .map_err(failed("raise a system error"))
}

fn save_core(vm: &Vm, fd: &VcpuFd) -> Result<KvmCore, KvmError> {
    let fail = failed("list its registers");
    let mut list = RegList::new(MAX_REGISTERS)
        .map_err(|_| KvmError::Saved("there is no memory for its registers"))?;
    fd.get_reg_list(&mut list).map_err(fail)?;
    let registers = list.as_slice().iter();
    let registers = registers.map(|&id| Ok((id, read(fd, id)?)));
    let state = fd.get_mp_state().map_err(failed("tell a core's state"))?;
    Ok(KvmCore {
        registers: registers.collect::<Result<_, KvmError>>()?,
        on: state.mp_state != KVM_MP_STATE_STOPPED,
        system_error: if vm.tells_events() {
            system_error(fd)?
        } else {
            None
        },
    })
}

fn restore_core(fd: &VcpuFd, saved: &KvmCore) -> Result<(), KvmError> {
    let KvmCore {
        registers,
        on,
        system_error,
    } = saved;
    for (id, bytes) in registers {
        if bytes.len() != size(*id) {
            return Err(KvmError::Saved("it has a register of the wrong size"));
        }
        // What only says what the processor is cannot be set, and need not be where it is the same.
        if read(fd, *id)? != *bytes {
            fd.set_one_reg(*id, bytes).map_err(failed(
                "set a register: is this another processor than the one it was saved on?",
            ))?;
        }
    }
    if let Some(error) = system_error {
        raise(fd, *error)?;
    }
    let mp_state = if *on {
        KVM_MP_STATE_RUNNABLE
    } else {
        KVM_MP_STATE_STOPPED
    };
    fd.set_mp_state(kvm_mp_state { mp_state })
        .map_err(failed("set a core's state"))
}

fn lock(core: &Shared) -> MutexGuard<'_, VcpuFd> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the state of all cores, which stand still, and of their interrupt controller.
pub(super) fn save(vm: &Vm, cores: &[Shared]) -> Result<KvmState, KvmError> {
    let platform = vm.platform();
    let saved = cores.iter().map(|core| save_core(vm, &lock(core)));
    Ok(KvmState {
        width: platform.width,
        irqchip: platform.irqchip,
        cores: saved.collect::<Result<_, _>>()?,
        gic: vm.save_gic(cores.len() as u64)?,
        high: vm.high_lines(),
    })
}

/// Restores the state of cores that have not run.
pub(super) fn restore(vm: &Vm, cores: &[Shared], saved: &KvmState) -> Result<(), KvmError> {
    if saved.platform() != vm.platform() {
        // Nothing else can differ: the machine was made for the width of this state.
        return Err(KvmError::Saved(
            "this host has another interrupt controller",
        ));
    }
    if saved.cores.len() != cores.len() {
        return Err(KvmError::Saved("it has another number of cores"));
    }
    for (core, saved) in cores.iter().zip(&saved.cores) {
        restore_core(&lock(core), saved)?;
    }
    // A counter is the same for all: the one that was read last went on for longest, and none may
    // go back.
    if let (Some(last), Some(core)) = (saved.cores.last(), cores.first()) {
        let counters = last.registers.iter();
        for (id, count) in counters.filter(|(id, _)| spec::COUNTERS.contains(id)) {
            lock(core)
                .set_one_reg(*id, count)
                .map_err(failed("set a counter"))?;
        }
    }
    vm.restore_gic(cores.len() as u64, &saved.gic)?;
    // After the controller: lines that are high raise their interrupts in it.
    vm.set_lines(&saved.high);
    Ok(())
}
