//! Signatures that are not filled in yet.
use super::*;
use super::host::HostReg;
impl Machine {
    /// Executes one instruction or one event delivery of `cpu`.
    pub fn step(&mut self, cpu: usize) -> Outcome { let _ = cpu; Outcome::Waiting }
    /// Steps `cpu` until it waits, stops, does I/O, or `max_steps` steps are done; returns the last outcome and the steps taken.
    pub fn run(&mut self, cpu: usize, max_steps: u64) -> (Outcome, u64) { let _ = (cpu, max_steps); (Outcome::Waiting, 0) }
    /// Whether a step of `cpu` would do something.
    #[must_use] pub fn can_step(&self, cpu: usize) -> bool { let _ = cpu; false }
    /// Throws an event at the machine.
    pub fn inject(&mut self, event: Event) { let _ = event; }
    /// Makes the oldest buffered store of `cpu` visible; false if there was none.
    pub fn drain_one(&mut self, cpu: usize) -> bool { let _ = cpu; false }
    /// Makes all buffered stores of `cpu` visible.
    pub fn drain_all(&mut self, cpu: usize) { let _ = cpu; }
    pub(crate) fn disarm(&mut self, cpu: usize) { let _ = cpu; }
    /// A 64-bit load at a physical address by `cpu`, through its store buffer. `phys` must be aligned.
    pub fn load(&mut self, cpu: usize, phys: u64) -> u64 { let _ = (cpu, phys); 0 }
    /// A 64-bit store.
    pub fn store(&mut self, cpu: usize, phys: u64, value: u64) { let _ = (cpu, phys, value); }
    /// A locked compare-and-exchange; returns the old value.
    pub fn compare_exchange(&mut self, cpu: usize, phys: u64, expected: u64, new: u64) -> u64 { let _ = (cpu, phys, expected, new); 0 }
    /// MFENCE by `cpu`.
    pub fn fence(&mut self, cpu: usize) { let _ = cpu; }
    /// A device writes memory.
    pub fn dma_write(&mut self, phys: u64, bytes: &[u8]) { let _ = (phys, bytes); }
    /// Reads a register on `cpu` as its instruction would.
    ///
    /// # Errors
    /// The exception the instruction would raise.
    pub fn read_reg(&mut self, cpu: usize, reg: HostReg) -> Result<u64, Exception> { let _ = (cpu, reg); Ok(0) }
    /// Writes a register on `cpu` as its instruction would.
    ///
    /// # Errors
    /// The exception the instruction would raise; nothing changes then.
    pub fn write_reg(&mut self, cpu: usize, reg: HostReg, value: u64) -> Result<(), Exception> { let _ = (cpu, reg, value); Ok(()) }
    /// Executes an instruction on `cpu`.
    ///
    /// # Errors
    /// The exception it raises.
    pub fn exec_special(&mut self, cpu: usize, special: Special) -> Result<(), Exception> { let _ = (cpu, special); Ok(()) }
    /// Sends an IPI from `cpu` by writing its ICR: x2APIC WRMSR or two xAPIC stores, by the APIC's mode. `icr_low` is the low half.
    ///
    /// # Errors
    /// The exception of the WRMSR.
    pub fn send_ipi(&mut self, cpu: usize, destination: u32, icr_low: u32) -> Result<(), Exception> { let _ = (cpu, destination, icr_low); Ok(()) }
    /// Appends the architectural state of all CPUs and the listed memory, so that equal behaviour means equal bytes.
    pub fn pack(&self, regions: &[PhysRange], out: &mut Vec<u8>) { let _ = (regions, out); }
    /// Restores what [`Machine::pack`] wrote for the same configuration and regions; false if `bytes` does not fit.
    pub fn unpack(&mut self, regions: &[PhysRange], bytes: &[u8]) -> bool { let _ = (regions, bytes); false }
    /// The instruction at `cpu`'s RIP as text.
    #[must_use] pub fn disassemble(&self, cpu: usize) -> String { let _ = cpu; String::new() }
    /// One scheduled step: picks a CPU, maybe drains, evicts, or ends a wait, then steps it. `None` if nothing can move.
    pub fn step_scheduled(&mut self, scheduler: &mut Scheduler) -> Option<(usize, Outcome)> { let _ = scheduler; None }
}
