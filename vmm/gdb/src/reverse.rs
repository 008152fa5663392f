//! Going back: the debugger's way to the history of a machine.

use gdbstub::common::Tid;
use gdbstub::target::ext::base::reverse_exec::{ReverseCont, ReverseStep};
use vmm_machine::vcpu::Backward;

use super::isa::Isa;
use super::target::{MachineGone, Target};

impl<I: Isa> ReverseStep<Tid> for Target<I> {
    fn reverse_step(&mut self, _: Tid) -> Result<(), MachineGone> {
        let core = self.core_to_step();
        self.go_back(Backward::Step { core })
    }
}

impl<I: Isa> ReverseCont<Tid> for Target<I> {
    fn reverse_cont(&mut self) -> Result<(), MachineGone> {
        self.go_back(Backward::Continue)
    }
}
