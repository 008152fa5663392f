//! What a core shares with the code of the host that was made for it.

use std::any::Any;

/// Why generated code came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CodeExit {
    /// A block ended, and exit [`Context::exit_slot`] of block [`Context::exit_block`] leads
    /// nowhere yet.
    Link = 0,
    /// R15 says where to go on.
    LookUp = 1,
    /// The handler of [`Context::exit_op`] returned [`Context::exit_flow`].
    Flow = 2,
    /// A block has more instructions than are left; R15 is at it.
    Budget = 3,
}

/// What a core shares with the code that was made for it. Generated code finds all of it by its
/// place in the core.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Context {
    /// Address of the entries of the current set of the software TLB.
    pub tlb: usize,
    /// Address of the tags of the pages that the current set may fetch from: links to other pages,
    /// and jumps, hold while theirs is among them.
    pub tags: usize,
    /// Address of the numbers of the pages of all sets, with what says whether addresses may be
    /// misaligned.
    pub numbers: usize,
    /// Address of the code area, to be executed.
    pub code: usize,
    /// Address of the jump table.
    pub jumps: usize,
    /// What the core has retired when the budget is used up.
    pub end: u64,
    /// What the machine's clock shows when the budget is used up, in nanoseconds; 0 if it does not
    /// follow instructions.
    pub time: u64,
    /// What is added to the host address of a byte of RAM for its physical address; 0 if nobody
    /// knows.
    pub ram: u64,
    /// What was left of the budget when the code came back.
    pub left: u64,
    /// Address of the word of the core's inputs, which is 0 while none of them is active.
    pub pins: usize,
    /// Address of the function that runs the handler of an operation.
    pub call: usize,
    /// Address of the operation whose handler asked to leave, 0 if none did.
    pub exit_op: usize,
    /// What it returned.
    pub exit_flow: u32,
    /// The block that ended.
    pub exit_block: u32,
    /// Its exit.
    pub exit_slot: u32,
    /// 1 if there is no other core.
    pub alone: u32,
    /// What a handler panicked with.
    pub panic: Option<Box<dyn Any + Send>>,
}
