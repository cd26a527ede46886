//! Accesses to memory that a CPU has no right to.

/// What kind of access a CPU made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// An instruction fetch.
    Fetch,
    /// A data read.
    Read,
    /// A data write.
    Write,
    /// A push or pop of the stack by an event, IRET or far transfer, or of the shadow stack.
    Push,
    /// A read of GDT, LDT, IDT, IVT or TSS.
    Descriptor,
    /// A write into the GDT: accessed or busy bit.
    DescriptorWrite,
    /// A page walk read.
    Walk,
    /// An accessed or dirty bit set by a page walk.
    WalkWrite,
    /// A write by the CPU's tracing hardware (PEBS, BTS, PT).
    Trace,
    /// A write by the hypervisor into a page that this CPU registered.
    Paravirt,
}

/// One access outside what the CPU is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Breach {
    /// The CPU.
    pub cpu: usize,
    /// What it did.
    pub kind: AccessKind,
    /// The physical address.
    pub phys: u64,
    /// The tag of that frame.
    pub tag: u8,
    /// RIP of the instruction.
    pub rip: u64,
    /// The machine's step count.
    pub step: u64,
}

/// How many breaches are kept.
pub const BREACHES_KEPT: usize = 32;

/// The first breaches of a run, and how many there were.
#[derive(Debug, Clone, Default)]
pub struct Breaches {
    kept: Vec<Breach>,
    count: u64,
}

impl Breaches {
    /// The first [`BREACHES_KEPT`], in order.
    #[must_use]
    pub fn first(&self) -> &[Breach] {
        &self.kept
    }

    /// How many there were, beyond those kept.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether there was none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.count = 0;
    }

    #[cold]
    pub(crate) fn record(&mut self, breach: Breach) {
        self.count += 1;
        if self.kept.len() < BREACHES_KEPT {
            self.kept.push(breach);
        }
    }
}
