//! The code of a block: what it branches to, how it is left, and where it goes.

/// Where the routines are that all code shares, from the start of the code area. What they are
/// given is in the register of temporary 0, unless it is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routines {
    /// `extern "C" fn(cpu, code, left) -> CodeExit`, called by the core.
    pub enter: usize,
    /// Saves registers and returns to the core, with a [`CodeExit`].
    pub exit: usize,
    /// Runs the handler of an operation, and returns if it said to go on. The registers of the
    /// operation and of the number of its block's instructions are the back end's matter.
    pub call: usize,
    /// Branches to an address, whose bit 0 selects the instruction set.
    pub exchange: usize,
    /// Branches to an address in the same instruction set.
    pub branch: usize,
    /// Ask whether a misaligned access lies in a page where it may be so, and return with the
    /// host's flags saying "equal" if it does: for halfwords and words, for loads and stores.
    pub misaligned: [[usize; 2]; 2],
    /// Has temporary 0 be CPSR as MRS shows it.
    pub status: usize,
    /// Has temporary 0 be DACR in privileged mode, if the software TLB knows the set of that, and
    /// says by the host's flags for equality whether it has done so. In the register of temporary 1
    /// is the tag of the page that is executed. Temporary 2 is lost, too.
    pub domains: usize,
}

/// An exit of a block: a branch that leads to its stub until it is linked.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Where the four bytes are that say where the branch leads.
    pub jump: usize,
    /// Its stub.
    pub stub: usize,
    /// Eight bytes with the tag of the page that it leads to, if that is another page.
    pub guard: Option<usize>,
}

/// Where the code of a block goes in the code area: what usually runs, and what is out of its way.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Where it begins.
    pub near: usize,
    /// Where what is out of the way begins; `None` to have it behind the rest.
    pub far: Option<usize>,
}

/// The code of a block. What is out of the way comes last.
#[derive(Clone, Copy, Debug)]
pub struct Emitted {
    /// Its exits.
    pub sites: [Option<Site>; 2],
    /// The position at which begins what is out of the way.
    pub split: usize,
    /// Where it goes.
    pub places: Places,
}

impl Emitted {
    /// Returns where the byte at position `at` of the code goes in the code area.
    pub fn address(&self, at: usize) -> usize {
        match self.places.far {
            Some(far) if at >= self.split => far + (at - self.split),
            _ => self.places.near + at,
        }
    }
}
