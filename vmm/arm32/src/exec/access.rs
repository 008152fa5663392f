//! Loads and stores by virtual address.
//!
//! The fast path is a hit of the software TLB on an aligned address; everything else goes through
//! the `#[cold]` functions below, which are complete on their own.

#![expect(
    unsafe_code,
    reason = "pages of guest memory are reached by the host pointers that the bus gave"
)]

use std::ptr::NonNull;

use crate::bus::{BusFault, RamPage, Size};
use crate::cpu::{Cpu, Flow};
use crate::exception::Exception;
use crate::exec::{Op, ldst::merge};
use crate::mem;
use crate::mmu::{self, Access, Fault, Translation};
use crate::tlb::Hit;

/// A value that was loaded, and how to go on after the instruction ([`Flow::Next`], or
/// [`Flow::End`] when a device access may have raised an interrupt).
pub type Loaded = (u32, Flow);

impl Cpu {
    /// Loads `SIZE` bytes (1, 2 or 4), zero-extended, with the privilege of the current mode.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead: the access faults, or an observer stops
    /// before it.
    #[inline(always)]
    pub fn load<const SIZE: u32>(&mut self, va: u32, op: &Op) -> Result<Loaded, Flow> {
        match self.tlb.read::<SIZE>(va) {
            Some(host) => Ok((read_host::<SIZE>(host), Flow::Next)),
            None => self.load_slow(va, SIZE, op.idx),
        }
    }

    /// Stores the low `SIZE` bytes (1, 2 or 4) of `value`.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead: the access faults, or an observer stops
    /// before it.
    #[inline(always)]
    pub fn store<const SIZE: u32>(&mut self, va: u32, value: u32, op: &Op) -> Result<Flow, Flow> {
        match self.tlb.write::<SIZE>(va) {
            Some(host) => {
                write_host::<SIZE>(host, value);
                Ok(Flow::Next)
            }
            None => self.store_slow(va, SIZE, value, op.idx),
        }
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 4 bytes were read")]
    fn load_slow(&mut self, va: u32, size: u32, idx: u8) -> Result<Loaded, Flow> {
        let privileged = self.s.psr.mode.privileged();
        // Cached, but tagged as watched: once it is let through, the access is as on the fast path.
        if let Some(page) = self.cached(va, size, Access::Read) {
            let flow = self.watch(va, size, Access::Read, privileged, idx)?;
            return Ok((read_cached(page.host, size) as u32, flow));
        }
        if let Some((page, _)) = self.cached_misaligned(va, size, Access::Read) {
            let flow = self.watch(va, size, Access::Read, privileged, idx)?;
            return Ok((mem::read_page_bytes(page, va & 0xfff, size) as u32, flow));
        }
        let (value, flow) = self.load_general(va, size, privileged, false, idx)?;
        Ok((value as u32, flow))
    }

    #[cold]
    #[inline(never)]
    fn store_slow(&mut self, va: u32, size: u32, value: u32, idx: u8) -> Result<Flow, Flow> {
        let privileged = self.s.psr.mode.privileged();
        // Cached, but tagged as watched or as told.
        if let Some(page) = self.cached(va, size, Access::Write) {
            let mut flow = Flow::Next;
            if page.watched {
                flow = self.watch(va, size, Access::Write, privileged, idx)?;
            }
            return Ok(merge(flow, self.store_cached(page, va, size, value.into())));
        }
        if let Some((page, hit)) = self.cached_misaligned(va, size, Access::Write) {
            let flow = self.watch(va, size, Access::Write, privileged, idx)?;
            let overwritten = mem::write_ram(&*self.bus, page, va & 0xfff, size, value.into());
            self.untag_told(hit, va);
            // It is writable: it was cached for a write.
            return Ok(merge(flow, after_write(overwritten == Ok(true))));
        }
        self.store_general(va, size, value.into(), privileged, false, idx)
    }

    /// Stores `size` bytes at `va` of a cached page, whatever its tags are; returns how to go on.
    pub(crate) fn store_cached(&mut self, page: Hit, va: u32, size: u32, value: u64) -> Flow {
        write_cached(page.host, size, value);
        let code = self.bus.code_pages();
        let flow = after_write(code.written(page.number, va & 0xfff, size));
        self.untag_told(page, va);
        flow
    }

    /// Has stores to the page of `va` take the fast path, if nobody wants to know of them any more.
    fn untag_told(&mut self, page: Hit, va: u32) {
        if page.told && !self.bus.code_pages().want_writes(page.number) {
            self.tlb.untag_told(va);
        }
    }

    /// Returns the page of `va`, if the fast path would answer for an access of `size` bytes there
    /// were it not tagged.
    pub(crate) fn cached(&self, va: u32, size: u32, access: Access) -> Option<Hit> {
        if va & (size - 1) != 0 {
            return None;
        }
        self.tlb.find(va, access == Access::Write)
    }

    /// Returns the page of `va` and what is cached of it, if an access of `size` bytes may be
    /// misaligned there and lies in it.
    fn cached_misaligned(&self, va: u32, size: u32, access: Access) -> Option<(RamPage, Hit)> {
        if bytes_before_page_end(va, size).is_some() {
            return None;
        }
        let write = access == Access::Write;
        let hit = self.tlb.find(va & !0xfff, write)?;
        let page = RamPage {
            host: hit.host,
            writable: write,
            number: hit.number,
        };
        hit.free.then_some((page, hit))
    }

    /// Loads 1, 2, 4 or 8 bytes at the given privilege. `aligned`: the instruction faults on a
    /// misaligned address whatever SCTLR.A says.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead: the access faults, or an observer stops
    /// before it.
    pub fn load_general(
        &mut self,
        va: u32,
        size: u32,
        privileged: bool,
        aligned: bool,
        idx: u8,
    ) -> Result<(u64, Flow), Flow> {
        self.check_alignment(va, size, aligned, Access::Read)?;
        if let Some(first) = bytes_before_page_end(va, size) {
            // Both pages before either is accessed: an abort must find nothing half done.
            self.probe_unaligned(va, Access::Read, privileged)?;
            self.probe_unaligned(va.wrapping_add(first), Access::Read, privileged)?;
            let flow = self.watch(va, size, Access::Read, privileged, idx)?;
            let (low, _) = self.load_within_page(va, first, privileged, idx)?;
            let (high, _) =
                self.load_within_page(va.wrapping_add(first), size - first, privileged, idx)?;
            return Ok((low | high << (8 * first), merge(flow, self.after_device())));
        }
        self.load_within_page(va, size, privileged, idx)
    }

    /// Stores 1, 2, 4 or 8 bytes at the given privilege; nothing is written when any byte faults.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead: the access faults, or an observer stops
    /// before it.
    pub fn store_general(
        &mut self,
        va: u32,
        size: u32,
        value: u64,
        privileged: bool,
        aligned: bool,
        idx: u8,
    ) -> Result<Flow, Flow> {
        self.check_alignment(va, size, aligned, Access::Write)?;
        if let Some(first) = bytes_before_page_end(va, size) {
            self.probe_unaligned(va, Access::Write, privileged)?;
            self.probe_unaligned(va.wrapping_add(first), Access::Write, privileged)?;
            let flow = self.watch(va, size, Access::Write, privileged, idx)?;
            self.store_within_page(va, first, value, privileged, idx)?;
            self.store_within_page(
                va.wrapping_add(first),
                size - first,
                value >> (8 * first),
                privileged,
                idx,
            )?;
            return Ok(merge(flow, self.after_device()));
        }
        self.store_within_page(va, size, value, privileged, idx)
    }

    /// Translates without accessing.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead, with the fault pending.
    pub fn probe(
        &mut self,
        va: u32,
        access: Access,
        privileged: bool,
    ) -> Result<Translation, Flow> {
        mmu::translate(&self.s, &*self.bus, va, access, privileged)
            .map_err(|fault| self.raise(Exception::DataAbort(fault)))
    }

    /// Translates as [`Cpu::probe`] does, for a part of an access that is not aligned.
    fn probe_unaligned(&mut self, va: u32, access: Access, privileged: bool) -> Result<(), Flow> {
        if self.probe(va, access, privileged)?.unaligned_ok() {
            return Ok(());
        }
        Err(self.raise(Exception::DataAbort(Fault::alignment(va, access))))
    }

    /// Faults when `va` is not aligned to `size` and the access (`aligned`) or SCTLR.A asks for it.
    ///
    /// # Errors
    /// The [`Flow`] that the handler returns instead, with the fault pending.
    pub fn check_alignment(
        &mut self,
        va: u32,
        size: u32,
        aligned: bool,
        access: Access,
    ) -> Result<(), Flow> {
        if va & (size - 1) != 0 && (aligned || self.is_strict()) {
            return Err(self.raise(Exception::DataAbort(Fault::alignment(va, access))));
        }
        Ok(())
    }

    /// Translates `va`; enters the translation into the TLB when it leads to RAM.
    fn translate_fill(
        &mut self,
        va: u32,
        size: u32,
        access: Access,
        privileged: bool,
    ) -> Result<(Translation, Option<RamPage>), Flow> {
        let t = self.probe(va, access, privileged)?;
        if va & (size - 1) != 0 && !t.unaligned_ok() {
            return Err(self.raise(Exception::DataAbort(Fault::alignment(va, access))));
        }
        let page = self.bus.ram(t.pa);
        if let Some(page) = page
            // Unprivileged loads and stores at PL1 have other permissions than the current TLB set.
            && privileged == self.s.psr.mode.privileged()
        {
            let pages = self.bus.code_pages();
            if access == Access::Write {
                // It is about to be told: the next store to it need not take the slow path, too.
                pages.unwritten().remove(page.number);
            }
            let told = pages.want_writes(page.number);
            self.tlb
                .fill(va, (privileged, self.is_strict()), &t, page, told);
        }
        Ok((t, page))
    }

    fn load_within_page(
        &mut self,
        va: u32,
        size: u32,
        privileged: bool,
        idx: u8,
    ) -> Result<(u64, Flow), Flow> {
        let (t, page) = self.translate_fill(va, size, Access::Read, privileged)?;
        let flow = self.watch(va, size, Access::Read, privileged, idx)?;
        let (value, after) = self.load_translated(va, size, &t, page, idx)?;
        Ok((value, merge(flow, after)))
    }

    /// Loads from an aligned address as [`Cpu::load_general`] does, for a comparison that observers
    /// do not see as a load.
    pub(crate) fn load_unwatched(
        &mut self,
        va: u32,
        size: u32,
        privileged: bool,
        idx: u8,
    ) -> Result<u64, Flow> {
        let (t, page) = self.translate_fill(va, size, Access::Read, privileged)?;
        self.load_translated(va, size, &t, page, idx)
            .map(|(value, _)| value)
    }

    fn load_translated(
        &mut self,
        va: u32,
        size: u32,
        t: &Translation,
        page: Option<RamPage>,
        idx: u8,
    ) -> Result<(u64, Flow), Flow> {
        if let Some(page) = page {
            return Ok((
                mem::read_page_bytes(page, (t.pa & 0xfff) as u32, size),
                Flow::Next,
            ));
        }
        self.touch_device(idx);
        let mut value = 0;
        for (offset, size) in pieces(t.pa, size) {
            match self.bus.read(t.pa + u64::from(offset), size) {
                Ok(v) => value |= v << (8 * offset),
                Err(BusFault) => return Err(self.external_abort(va, Access::Read)),
            }
        }
        Ok((value, self.after_device()))
    }

    fn store_within_page(
        &mut self,
        va: u32,
        size: u32,
        value: u64,
        privileged: bool,
        idx: u8,
    ) -> Result<Flow, Flow> {
        let (t, page) = self.translate_fill(va, size, Access::Write, privileged)?;
        let flow = self.watch(va, size, Access::Write, privileged, idx)?;
        if let Some(page) = page {
            let offset = (t.pa & 0xfff) as u32;
            return match mem::write_ram(&*self.bus, page, offset, size, value) {
                Ok(overwritten) => Ok(merge(flow, after_write(overwritten))),
                Err(BusFault) => Err(self.external_abort(va, Access::Write)),
            };
        }
        self.touch_device(idx);
        for (offset, size) in pieces(t.pa, size) {
            if self
                .bus
                .write(t.pa + u64::from(offset), size, value >> (8 * offset))
                .is_err()
            {
                return Err(self.external_abort(va, Access::Write));
            }
        }
        Ok(merge(flow, self.after_device()))
    }

    /// Notes that the instruction at `idx` of the running block is about to access a device.
    fn touch_device(&mut self, idx: u8) {
        // Devices read the clock, which must stand at this instruction.
        self.sync_clock(idx);
        self.stops.touched = Some(self.s.retired + u64::from(idx));
    }

    fn external_abort(&mut self, va: u32, access: Access) -> Flow {
        self.raise(Exception::DataAbort(Fault::external(va, access)))
    }

    /// Returns how to go on after a device access: it may have raised an interrupt, which is then
    /// taken before the next instruction, wherever the block happens to end.
    fn after_device(&self) -> Flow {
        if self.pins.any() {
            Flow::End
        } else {
            Flow::Next
        }
    }
}

/// Returns how to go on after a write: the instructions that come next may have been `overwritten`.
fn after_write(overwritten: bool) -> Flow {
    if overwritten { Flow::End } else { Flow::Next }
}

/// Returns how many of `size` bytes at `va` lie in the first page, if they cross into another.
fn bytes_before_page_end(va: u32, size: u32) -> Option<u32> {
    let left = 0x1000 - (va & 0xfff);
    (left < size).then_some(left)
}

/// Returns the naturally aligned accesses that make up `size` bytes at `pa`, as (offset, size).
fn pieces(pa: u64, size: u32) -> impl Iterator<Item = (u32, Size)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let at = pa + u64::from(offset);
        // The largest first: a device sees as few accesses as alignment allows.
        let piece = [Size::Double, Size::Word, Size::Half, Size::Byte]
            .into_iter()
            .find(|s| s.bytes() <= size - offset && at.is_multiple_of(s.bytes().into()))?;
        let here = offset;
        offset += piece.bytes();
        Some((here, piece))
    })
}

#[inline(always)]
fn read_host<const SIZE: u32>(host: NonNull<u8>) -> u32 {
    // SAFETY: the TLB answers only for pages of the Bus's RAM, which stay mapped while the core
    // holds the bus, and only for addresses aligned to SIZE, so the access is aligned and inside
    // the page.
    unsafe {
        match SIZE {
            1 => u32::from(host.as_ptr().read_volatile()),
            2 => u32::from(u16::from_le(host.cast::<u16>().as_ptr().read_volatile())),
            _ => u32::from_le(host.cast::<u32>().as_ptr().read_volatile()),
        }
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bytes are what is stored"
)]
fn write_host<const SIZE: u32>(host: NonNull<u8>, value: u32) {
    // SAFETY: as in `read_host`, and the TLB answers a write only for writable pages.
    unsafe {
        match SIZE {
            1 => host.as_ptr().write_volatile(value as u8),
            2 => host
                .cast::<u16>()
                .as_ptr()
                .write_volatile((value as u16).to_le()),
            _ => host.cast::<u32>().as_ptr().write_volatile(value.to_le()),
        }
    }
}

/// Reads the `size` bytes at a host address that [`Cpu::cached`] gave.
pub(crate) fn read_cached(host: NonNull<u8>, size: u32) -> u64 {
    match size {
        1 => read_host::<1>(host).into(),
        2 => read_host::<2>(host).into(),
        4 => read_host::<4>(host).into(),
        // SAFETY: as in `read_host`.
        _ => unsafe { u64::from_le(host.cast::<u64>().as_ptr().read_volatile()) },
    }
}

/// Writes the low `size` bytes of `value` at a host address that [`Cpu::cached`] gave for a write.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bytes are what is stored"
)]
pub(crate) fn write_cached(host: NonNull<u8>, size: u32, value: u64) {
    match size {
        1 => write_host::<1>(host, value as u32),
        2 => write_host::<2>(host, value as u32),
        4 => write_host::<4>(host, value as u32),
        // SAFETY: as in `write_host`.
        _ => unsafe { host.cast::<u64>().as_ptr().write_volatile(value.to_le()) },
    }
}
