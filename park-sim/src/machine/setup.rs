//! Putting a CPU into a defined state: reset, and an operating system's 64-bit mode.

use super::activity::Activity;
use super::apic::Apic;
use super::bits::{cr0, cr4, efer, flags};
use super::config::CpuConfig;
use super::cpu::{Cpu, Gpr, Latches, Monitor, Seg, Segment, Shadow, Smm, TableRegister};
use super::msr::MsrFile;
use super::{Machine, apic, dirty, store_buffer, tlb};

/// A 64-bit state for [`Machine::start_long_mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongMode {
    /// CR3.
    pub cr3: u64,
    /// RIP.
    pub rip: u64,
    /// RSP.
    pub rsp: u64,
    /// RDI, the first argument.
    pub arg: u64,
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// CS selector; the hidden part becomes flat 64-bit code.
    pub cs: u16,
    /// SS selector; DS, ES, FS and GS become null. The hidden part becomes flat data, or unusable where 0.
    pub ss: u16,
    /// TR: selector and TSS base; 0 = none. The hidden part becomes a busy 64-bit TSS with limit 67h.
    pub tr: (u16, u64),
    /// Bits of CR4 beyond PAE; LA57 chooses five levels.
    pub cr4: u64,
    /// Bits of CR0 beyond PE, PG, ET, NE; WP for a usual kernel.
    pub cr0: u64,
    /// Bits of EFER beyond LME, LMA; NXE for a usual kernel.
    pub efer: u64,
    /// RFLAGS beyond the fixed bit.
    pub rflags: u64,
}

impl LongMode {
    /// A usual kernel's state: WP, NXE, MCE, interrupts off, no IDT, null SS.
    #[must_use]
    pub const fn new(cr3: u64, rip: u64, rsp: u64) -> Self {
        Self {
            cr3,
            rip,
            rsp,
            arg: 0,
            gdtr: TableRegister { base: 0, limit: 0 },
            idtr: TableRegister { base: 0, limit: 0 },
            cs: 8,
            ss: 0,
            tr: (0, 0),
            cr4: cr4::MCE,
            cr0: cr0::WP,
            efer: efer::NXE,
            rflags: 0,
        }
    }
}

/// A busy 64-bit TSS, present (S:Table 3-2).
const TSS_BUSY: u16 = 0x8b;
/// An LDT, present.
const LDT: u16 = 0x82;
/// Real-mode code and data after reset (S:Table 9-1): present, accessed, writable.
const REAL_CODE: u16 = 0x9b;
const REAL_DATA: u16 = 0x93;
/// DR6 and DR7 after reset (S:Table 9-1).
pub(crate) const DR6_RESET: u64 = 0xffff_0ff0;
pub(crate) const DR7_RESET: u64 = 0x400;

impl Cpu {
    pub(crate) fn at_reset(config: CpuConfig, apic_mode: u64) -> Self {
        let mut cpu = Self {
            gpr: [0; 16],
            rip: 0,
            rflags: flags::FIXED,
            segs: [Segment::default(); 6],
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            ldtr: Segment::default(),
            tr: Segment::default(),
            cr0: cr0::ET | cr0::CD | cr0::NW,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            dr: [0, 0, 0, 0, 0, 0, DR6_RESET, DR7_RESET],
            ssp: 0,
            tiles_live: false,
            activity: if config.bsp { Activity::ResetVector } else { Activity::WaitForSipi },
            gif: true,
            vmx_root: false,
            nmi_blocked: false,
            monitor: Monitor::default(),
            apic: Apic::reset(config.apic_id, apic_mode | if config.bsp { apic::base::BSP } else { 0 }),
            allowed_tags: u64::MAX,
            bsp: config.bsp,
            instructions: 0,
            smi_count: 0,
            taken: Default::default(),
            shutdown_why: None,
            latches: Latches::default(),
            shadow: Shadow::None,
            smm: Smm::default(),
            wait_for_endbranch: false,
            deadline: None,
            deadline_os: false,
            shutdown_sticky: false,
            last_flushed_line: u64::MAX,
            msr: MsrFile::reset(),
            tlb: tlb::Tlb::new(),
            stores: store_buffer::StoreBuffer::default(),
            stores_near_code: false,
            fetch: Default::default(),
            data: Default::default(),
            attention: true,
            code_bits: 16,
            fault_linear: 0,
            next_rip: 0,
            dirty: dirty::DirtyLines::default(),
        };
        cpu.reset_execution(0);
        cpu
    }

    /// What INIT and RESET have in common (S:Table 9-1, A:Table 14-1): execution state, not caches, MSRs or APIC.
    pub(crate) fn reset_execution(&mut self, signature: u32) {
        self.gpr = [0; 16];
        self.set_reg(Gpr::Rdx, u64::from(signature));
        self.rip = 0xfff0;
        self.rflags = flags::FIXED;
        self.segs = [Segment::real_mode(0, REAL_DATA); 6];
        self.segs[Seg::Cs as usize] = Segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attr: REAL_CODE };
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = TableRegister { base: 0, limit: 0xffff };
        self.ldtr = Segment { selector: 0, base: 0, limit: 0xffff, attr: LDT };
        self.tr = Segment { selector: 0, base: 0, limit: 0xffff, attr: TSS_BUSY };
        self.ssp = 0;
        self.shadow = Shadow::None;
        self.wait_for_endbranch = false;
        self.deadline = None;
        self.deadline_os = false;
        self.shutdown_sticky = false;
        self.smm = Smm::default();
        self.refresh_mode();
        self.attention = true;
    }
}

impl Machine {
    /// Puts one CPU back to its state after RESET; memory stays.
    pub fn reset_cpu(&mut self, cpu: usize) {
        let signature = self.config.cpuid.get(1, 0).eax;
        let Some(config) = self.config.cpus.get(cpu).copied() else { return };
        let apic_mode = self.config.apic_mode();
        let Some(target) = self.cpus.get_mut(cpu) else { return };
        if target.monitor.armed_by != super::cpu::ArmedBy::Nothing {
            self.armed = self.armed.saturating_sub(1);
        }
        let allowed_tags = target.allowed_tags;
        let (instructions, smi_count, taken) = (target.instructions, target.smi_count, target.taken);
        *target = Cpu { allowed_tags, instructions, smi_count, taken, ..Cpu::at_reset(config, apic_mode) };
        target.reset_execution(signature);
    }

    /// Puts `cpu` into 64-bit mode, running, with everything else as an operating system leaves it: caches on, latches empty, TLB empty, APIC
    /// untouched.
    pub fn start_long_mode(&mut self, cpu: usize, state: &LongMode) {
        let target = self.cpu_mut(cpu);
        target.gpr = [0; 16];
        target.set_reg(Gpr::Rsp, state.rsp);
        target.set_reg(Gpr::Rdi, state.arg);
        target.rip = state.rip;
        target.rflags = flags::FIXED | state.rflags;
        target.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | state.cr0;
        target.cr3 = state.cr3;
        target.cr4 = cr4::PAE | state.cr4;
        target.efer = efer::LME | efer::LMA | state.efer;
        target.gdtr = state.gdtr;
        target.idtr = state.idtr;
        target.segs = [Segment::default(); 6];
        target.segs[Seg::Cs as usize] = Segment { selector: state.cs, base: 0, limit: u32::MAX, attr: Segment::CODE64 };
        if state.ss != 0 {
            target.segs[Seg::Ss as usize] =
                Segment { selector: state.ss, base: 0, limit: u32::MAX, attr: Segment::DATA };
        }
        let (selector, base) = state.tr;
        target.tr =
            if selector == 0 { Segment::default() } else { Segment { selector, base, limit: 0x67, attr: TSS_BUSY } };
        target.ldtr = Segment::default();
        target.activity = Activity::Running;
        target.nmi_blocked = false;
        target.gif = true;
        target.vmx_root = false;
        target.shadow = Shadow::None;
        target.smm = Smm::default();
        target.wait_for_endbranch = false;
        target.latches = Latches::default();
        target.tlb.flush_all();
        target.refresh_mode();
        target.attention = true;
        self.disarm(cpu);
    }

    /// Enables the local APIC of `cpu` by software, as every kernel does.
    pub fn enable_apic(&mut self, cpu: usize) {
        self.cpu_mut(cpu).apic.svr = 0xff | apic::SVR_ENABLED;
    }
}
