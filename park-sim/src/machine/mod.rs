//! A deterministic multi-CPU x86-64 machine that executes real machine code.
//!
//! Nothing happens by itself: a caller steps one CPU at a time ([`Machine::step`]), injects events ([`Machine::inject`]), lets stores drain
//! ([`Machine::drain_one`]) and evicts translations ([`Machine::evict_tlb`]). [`schedule::Scheduler`] does so from a seed.
//!
//! CPU indices are positions in [`MachineConfig::cpus`]. A method given an index that does not exist uses the last CPU.

mod access;
pub mod activity;
pub mod apic;
mod arrival;
mod bits;
mod boundary;
pub mod breach;
mod cet;
pub mod config;
pub mod cpu;
pub mod cpuid;
mod cr;
mod decode;
mod descriptor;
mod dirty;
pub mod event;
mod exec;
mod explored;
mod fault;
mod guards;
mod hidden;
pub mod host;
mod host_apic;
mod image;
mod init;
mod interrupt;
mod ipi;
mod kinds;
pub mod knobs;
mod lower;
mod mc;
mod memory;
mod monitor;
pub mod msr;
mod msr_access;
mod op;
mod pack;
mod paging;
mod record;
pub mod rules;
pub mod schedule;
pub mod setup;
mod smm;
mod step;
pub mod store_buffer;
pub mod tlb;
pub mod trace;

pub use activity::{Activity, Delivered, Outcome, ResetCause, Stop};
pub use breach::{AccessKind, Breach, Breaches};
pub use config::{ConfigError, CpuConfig, MachineConfig, PhysRange, TlbMode, Vendor};
pub use cpu::{Cpu, Gpr, Seg, Segment, TableRegister};
pub use cpuid::{CpuidRegs, CpuidTable, Features};
pub use event::{Event, EventKind, Target};
pub use host::{Exception, HostReg, Special};
pub use knobs::{Choice, Knob, KnobError, KnobSet, Knobs};
pub use memory::{FRAME_BYTES, MAX_TAG, Tag};
pub use rules::{Rule, RuleSet};
pub use schedule::Scheduler;
pub use setup::LongMode;
pub use tlb::Evict;
pub use trace::{Trace, TraceRecord, TraceSink, TraceWhat};

use memory::Memory;

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    config: MachineConfig,
    features: Features,
    cpus: Vec<Cpu>,
    pub(crate) memory: Memory,
    /// The rules that hold.
    pub rules: RuleSet,
    /// The undocumented cells.
    pub knobs: Knobs,
    /// Accesses outside what CPUs may touch.
    pub breaches: Breaches,
    /// The last records, if configured.
    pub trace: Trace,
    knobs_read: core::cell::Cell<KnobSet>,
    /// What the current step reports, if not "executed".
    outcome: Outcome,
    stop: Option<Stop>,
    reset: Option<ResetCause>,
    /// Whether either of them is there: asked several times a step.
    over: bool,
    /// Moves whenever an event comes to any CPU: who saw nothing held at this number need not look again.
    arrivals: u64,
    steps: u64,
    /// The TSC is this plus the ticks of all steps.
    tsc_base: u64,
    /// CPUs with an armed monitor; 0 lets stores skip the search.
    armed: u32,
    /// Which way the knob `monitor-lost=alternate` goes next.
    lost_toggle: bool,
    /// Every CPU has checked into SMM: all may leave.
    smm_released: bool,
    /// SMM gave up on absent CPUs this often.
    smm_missed: u64,
}

impl Machine {
    /// Builds a machine after reset: APs wait for a SIPI, the BSP is at the reset vector. Use [`Machine::start_long_mode`] to put a CPU into an
    /// operating system's hands.
    ///
    /// # Errors
    /// [`ConfigError`] says which part of the configuration cannot be built.
    pub fn new(config: &MachineConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let features = Features::of(&config.cpuid);
        let mut machine = Self {
            config: config.clone(),
            features,
            cpus: config.cpus.iter().map(|cpu| Cpu::at_reset(*cpu, config.apic_mode())).collect(),
            memory: Memory::new(&config.ram),
            rules: config.rules,
            knobs: config.knobs,
            breaches: Breaches::default(),
            trace: Trace::new(config.trace_records),
            knobs_read: core::cell::Cell::default(),
            outcome: Outcome::Executed,
            stop: None,
            reset: None,
            over: false,
            arrivals: 0,
            steps: 0,
            tsc_base: config.tsc_start,
            armed: 0,
            lost_toggle: false,
            smm_released: false,
            smm_missed: 0,
        };
        for cpu in 0..machine.cpus.len() {
            machine.reset_cpu(cpu);
        }
        Ok(machine)
    }

    /// What the machine was built from.
    #[must_use]
    pub const fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// The vendor whose rules hold.
    #[must_use]
    pub const fn vendor(&self) -> Vendor {
        self.config.vendor
    }

    /// What the CPUs can do.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// A CPU.
    #[must_use]
    #[inline]
    pub fn cpu(&self, cpu: usize) -> &Cpu {
        &self.cpus[cpu.min(self.cpus.len() - 1)]
    }

    /// A CPU, to change. The next step looks at everything anew, except the TLB: see [`Machine::evict_tlb`].
    #[inline]
    pub fn cpu_mut(&mut self, cpu: usize) -> &mut Cpu {
        self.arrivals += 1;
        let last = self.cpus.len() - 1;
        let cpu = &mut self.cpus[cpu.min(last)];
        cpu.attention = true;
        cpu.forget_shortcuts();
        cpu
    }

    /// How often an event came to a CPU, by injection or IPI, or a caller changed one. A CPU that holds nothing, and takes no step, holds
    /// nothing while this stays.
    #[inline]
    pub(crate) const fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Steps taken so far by all CPUs.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The time-stamp counter, the same on all CPUs.
    #[must_use]
    pub const fn tsc(&self) -> u64 {
        self.tsc_base.wrapping_add(self.steps.wrapping_mul(self.config.tsc_per_step))
    }

    pub(crate) const fn set_tsc(&mut self, tsc: u64) {
        self.tsc_base = tsc.wrapping_sub(self.steps.wrapping_mul(self.config.tsc_per_step));
    }

    /// Moves the time-stamp counter forward, as time that passes between steps.
    pub fn advance_tsc(&mut self, ticks: u64) {
        self.tsc_base = self.tsc_base.wrapping_add(ticks);
        for cpu in &mut self.cpus {
            cpu.attention = true;
        }
    }

    /// Why the run cannot go on, if it cannot.
    #[must_use]
    pub const fn stopped(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// Why the machine was reset, if it was. A reset machine does not step.
    #[must_use]
    pub const fn was_reset(&self) -> Option<ResetCause> {
        self.reset
    }

    /// Forgets a stop or reset, for a caller that sets all CPUs up anew (warm reset).
    pub fn clear_stop(&mut self) {
        self.stop = None;
        self.reset = None;
        self.over = false;
    }

    /// The knobs that this run consulted.
    #[must_use]
    pub fn knobs_read(&self) -> KnobSet {
        self.knobs_read.get()
    }

    /// Returns and clears the set of consulted knobs, so that a caller can tell which ones a step read.
    pub fn take_knobs_read(&mut self) -> KnobSet {
        self.knobs_read.take()
    }

    /// Gives the frames of `range` to the owner `tag` (at most [`MAX_TAG`]; higher tags count as 0).
    pub fn set_tag(&mut self, range: PhysRange, tag: Tag) {
        let tag = if tag.0 > MAX_TAG { Tag(0) } else { tag };
        self.memory.set_tag(range, tag);
        for cpu in &mut self.cpus {
            cpu.forget_shortcuts();
        }
    }

    /// The owner of the frame at `phys`; [`Tag`] 0 where there is no RAM.
    #[must_use]
    pub fn tag_at(&self, phys: u64) -> Tag {
        Tag(self.memory.tag(self.memory.frame_of(phys)))
    }

    /// Says which tags `cpu` may touch: bit n = tag n. Breaches are recorded, never prevented.
    pub fn set_allowed(&mut self, cpu: usize, tags: u64) {
        self.cpu_mut(cpu).allowed_tags = tags;
    }

    /// Reads memory as it is, without checks, store buffers or side effects. Where there is no RAM: FFh.
    pub fn read_phys(&self, phys: u64, out: &mut [u8]) {
        self.memory.read_bytes(phys, out);
    }

    /// Reads an aligned 64-bit word of memory as it is.
    #[must_use]
    #[inline]
    pub fn read_phys_u64(&self, phys: u64) -> u64 {
        self.memory.read_word(phys)
    }

    /// Writes memory without checks or side effects on monitors: a loader's view. Decoded code is forgotten where it changed.
    pub fn write_phys(&mut self, phys: u64, bytes: &[u8]) {
        self.memory.write_bytes(phys, bytes);
    }

    /// Drops translations of `cpu`: always legal (S:4.10.2.3, entries may vanish at any time).
    pub fn evict_tlb(&mut self, cpu: usize, which: Evict) {
        self.cpu_mut(cpu).tlb.evict(which);
    }

    /// How many translations `cpu` holds.
    #[must_use]
    pub fn tlb_len(&self, cpu: usize) -> usize {
        self.cpu(cpu).tlb.len()
    }

    /// Physical addresses of the cache lines that `cpu` dirtied since the last write-back, if the configuration tracks them.
    pub fn dirty_lines(&self, cpu: usize) -> impl Iterator<Item = u64> + '_ {
        self.cpu(cpu).dirty.iter()
    }

    /// How many dirty lines INVD threw away on `cpu`, if the configuration tracks them. Their data stays in memory: the model counts the loss.
    #[must_use]
    pub fn lines_lost(&self, cpu: usize) -> u64 {
        self.cpu(cpu).dirty.lost
    }

    /// Consults a knob and remembers that it was.
    #[inline]
    pub(crate) fn knob<C: Choice>(&self) -> C {
        let mut read = self.knobs_read.get();
        read.insert(C::KNOB);
        self.knobs_read.set(read);
        self.knobs.get()
    }
}

#[cfg(test)]
mod tests;
