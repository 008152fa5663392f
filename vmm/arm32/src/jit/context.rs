//! What a core shares with the code that was made for it.

use std::any::Any;

use crate::cpu::Cpu;
use crate::exec::Op;

/// Why generated code came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Left {
    /// A block ended, and exit [`Context::exit_slot`] of block [`Context::exit_block`] leads nowhere yet.
    Link = 0,
    /// R15 says where to go on.
    LookUp = 1,
    /// The handler of [`Context::exit_op`] returned [`Context::exit_flow`].
    Flow = 2,
    /// A block has more instructions than are left; R15 is at it.
    Budget = 3,
}

/// The function that generated code calls for an operation.
pub type Call = extern "C" fn(*mut Cpu, *const Op) -> u32;

/// What a core shares with the code that was made for it. Generated code finds all of it by its place in the core.
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    /// Address of the entries of the current set of the software TLB.
    pub tlb: usize,
    /// Address of the tags of the pages that the current set may fetch from: links to other pages, and jumps, hold
    /// while theirs is among them.
    pub tags: usize,
    /// Address of the jump table.
    pub jumps: usize,
    /// What the core has retired when the budget is used up.
    pub end: u64,
    /// What was left of the budget when the code came back.
    pub left: u64,
    /// Runs the handler of an operation.
    pub call: Call,
    /// The operation whose handler asked to leave.
    pub exit_op: *const Op,
    /// What it returned.
    pub exit_flow: u32,
    /// The block that ended.
    pub exit_block: u32,
    /// Its exit.
    pub exit_slot: u32,
    /// What a handler panicked with.
    pub panic: Option<Box<dyn Any + Send>>,
}

// SAFETY: the pointer is to an operation of the core's own blocks, and is used between a return of generated code and
// the next entry only.
#[expect(unsafe_code, reason = "it moves between threads with its core")]
unsafe impl Send for Context {}

impl Context {
    /// Returns the operation whose handler asked to leave.
    ///
    /// # Panics
    /// If generated code did not come back for that reason.
    #[expect(unsafe_code, reason = "generated code has only its address")]
    pub fn take_op(&mut self) -> Op {
        let op = std::mem::replace(&mut self.exit_op, std::ptr::null());
        // SAFETY: it is null, or generated code put there an operation of one of the core's blocks, which lives as long
        // as the code; nothing was dropped since.
        *unsafe { op.as_ref() }.expect("generated code said which")
    }
}

impl Default for Context {
    fn default() -> Self {
        Self {
            tlb: 0,
            tags: 0,
            jumps: 0,
            end: 0,
            left: 0,
            call: super::call_handler,
            exit_op: std::ptr::null(),
            exit_flow: 0,
            exit_block: 0,
            exit_slot: 0,
            panic: None,
        }
    }
}
