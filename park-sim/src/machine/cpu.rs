//! The state of one logical processor.

use super::activity::Activity;
use super::apic::Apic;
use super::bits::{cr0, efer, flags};
pub(crate) use super::hidden::{DATA_SHORTCUTS, DataPage, FetchPage, Latches, PendingMc, Shadow, Smm};
use super::msr::MsrFile;
use super::store_buffer::StoreBuffer;
use super::tlb::Tlb;

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit in bytes, granularity applied.
    pub limit: u32,
    /// Descriptor bits 40-47 in bits 0-7 (type, S, DPL, P), bits 52-55 in bits 8-11 (AVL, L, D, G); 0 = unusable.
    pub attr: u16,
}

impl Segment {
    /// Present bit of `attr`.
    pub const PRESENT: u16 = 1 << 7;
    /// 64-bit code bit of `attr`.
    pub const LONG: u16 = 1 << 9;
    /// Default-size bit of `attr`.
    pub const DEFAULT_32: u16 = 1 << 10;
    /// Attributes of 64-bit ring-0 code: present, code, readable, accessed, L.
    pub const CODE64: u16 = 0x29b;
    /// Attributes of flat ring-0 data: present, writable, accessed, D, G.
    pub const DATA: u16 = 0xc93;

    pub(crate) const fn real_mode(selector: u16, attr: u16) -> Self {
        Self { selector, base: (selector as u64) << 4, limit: 0xffff, attr }
    }
}

/// GDTR or IDTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TableRegister {
    /// Linear base.
    pub base: u64,
    /// Limit in bytes, inclusive.
    pub limit: u16,
}

/// Index of a general-purpose register in [`Cpu::gpr`], as encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the registers")]
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// Index of a segment register in [`Cpu::segs`], as encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the registers")]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// Which instruction armed the monitor; each wait accepts only its own (events.md 7.6; ISA Extensions, UMONITOR).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ArmedBy {
    /// Not armed.
    #[default]
    Nothing,
    /// MONITOR.
    Monitor,
    /// MONITORX.
    Monitorx,
    /// UMONITOR.
    Umonitor,
}

/// The address monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Monitor {
    /// Who armed it.
    pub armed_by: ArmedBy,
    /// Physical address of the smallest line.
    pub line: u64,
    /// A store hit it since it was armed.
    pub triggered: bool,
    /// Stores are missed (errata knobs).
    pub(crate) deaf: bool,
}

/// One logical processor.
#[derive(Debug, Clone)]
pub struct Cpu {
    /// General-purpose registers, indexed by [`Gpr`].
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Segment registers, indexed by [`Seg`].
    pub segs: [Segment; 6],
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// LDTR.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// XCR0.
    pub xcr0: u64,
    /// DR0-DR7; 4 and 5 are unused.
    pub dr: [u64; 8],
    /// Shadow stack pointer.
    pub ssp: u64,
    /// Whether AMX tiles hold data.
    pub tiles_live: bool,
    /// What the CPU is doing.
    pub activity: Activity,
    /// AMD global interrupt flag.
    pub gif: bool,
    /// VMX root operation.
    pub vmx_root: bool,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// The address monitor.
    pub monitor: Monitor,
    /// The local APIC.
    pub apic: Apic,
    /// Frames this CPU may touch: bit n = frames with tag n.
    pub allowed_tags: u64,
    /// Whether this CPU is the BSP.
    pub bsp: bool,
    /// Instructions executed.
    pub instructions: u64,
    /// SMIs taken (MSR 34h).
    pub smi_count: u64,
    /// Times each of INIT, SIPI, NMI and #MC was taken.
    pub taken: Taken,

    /// Why it last shut down, if it did since its last reset.
    pub shutdown_why: Option<&'static str>,

    pub(crate) latches: Latches,
    pub(crate) shadow: Shadow,
    pub(crate) smm: Smm,
    pub(crate) wait_for_endbranch: bool,
    /// The deadline of UMWAIT, TPAUSE and MWAITX, in TSC ticks; `os_limited` says whose it was.
    pub(crate) deadline: Option<u64>,
    pub(crate) deadline_os: bool,
    pub(crate) shutdown_sticky: bool,
    pub(crate) last_flushed_line: u64,
    pub(crate) msr: MsrFile,
    pub(crate) tlb: Tlb,
    pub(crate) stores: StoreBuffer,
    /// A buffered store may lie in a frame of decoded code.
    pub(crate) stores_near_code: bool,
    pub(crate) fetch: FetchPage,
    pub(crate) data: [DataPage; DATA_SHORTCUTS],
    /// The boundary has something to look at.
    pub(crate) attention: bool,
    /// Bits of the current code: 16, 32, 64.
    pub(crate) code_bits: u8,
    /// Linear address of the page fault being raised.
    pub(crate) fault_linear: u64,
    pub(crate) next_rip: u64,
    pub(crate) dirty: super::dirty::DirtyLines,
}

/// How often events were taken since the machine was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Taken {
    /// INITs.
    pub init: u64,
    /// SIPIs that started the CPU.
    pub sipi: u64,
    /// NMIs delivered.
    pub nmi: u64,
    /// Machine checks delivered.
    pub mc: u64,
    /// Maskable interrupts delivered.
    pub intr: u64,
    /// NMIs that arrived, delivered or not.
    pub nmi_arrived: u64,
    /// Messages and machine checks that arrived at the CPU, taken, held or dropped.
    pub arrived: u64,
    /// Waits that ended without a delivery.
    pub wait_ended: u64,
}

impl Cpu {
    /// A general-purpose register.
    #[must_use]
    #[inline]
    pub const fn reg(&self, gpr: Gpr) -> u64 {
        self.gpr[gpr as usize]
    }

    /// Sets a general-purpose register.
    #[inline]
    pub const fn set_reg(&mut self, gpr: Gpr, value: u64) {
        self.gpr[gpr as usize] = value;
    }

    /// A segment register.
    #[must_use]
    #[inline]
    pub const fn seg(&self, seg: Seg) -> &Segment {
        &self.segs[seg as usize]
    }

    /// Whether EFER.LMA is set.
    #[must_use]
    #[inline]
    pub const fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// Whether the CPU is inside SMM.
    #[must_use]
    pub const fn in_smm(&self) -> bool {
        self.smm.inside
    }

    /// Whether an INIT is held.
    #[must_use]
    pub const fn init_held(&self) -> bool {
        self.latches.init
    }

    /// Whether an SMI is held.
    #[must_use]
    pub const fn smi_held(&self) -> bool {
        self.latches.smi
    }

    /// How many NMIs are held.
    #[must_use]
    pub const fn nmis_held(&self) -> u8 {
        self.latches.nmi
    }

    /// Whether a machine check is held.
    #[must_use]
    pub const fn mc_held(&self) -> bool {
        self.latches.mc.is_some()
    }

    /// Whether stores wait in the store buffer.
    #[must_use]
    pub const fn stores_waiting(&self) -> bool {
        !self.stores.is_empty()
    }

    #[inline]
    pub(crate) const fn flag(&self, bits: u64) -> bool {
        self.rflags & bits != 0
    }

    #[inline]
    #[expect(clippy::fn_params_excessive_bools, reason = "the bool is the value of the flag")]
    pub(crate) const fn set_flag(&mut self, bits: u64, on: bool) {
        if on {
            self.rflags |= bits;
        } else {
            self.rflags &= !bits;
        }
    }

    #[inline]
    pub(crate) const fn paging(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }

    #[inline]
    pub(crate) const fn pcid(&self) -> u16 {
        if self.cr4 & super::bits::cr4::PCIDE != 0 { (self.cr3 & 0xfff) as u16 } else { 0 }
    }

    /// Recomputes what derives from CR0, EFER and CS.
    pub(crate) fn refresh_mode(&mut self) {
        let cs = self.segs[Seg::Cs as usize];
        let bits = if self.cr0 & cr0::PE == 0 {
            16
        } else if self.long_mode() && cs.attr & Segment::LONG != 0 {
            64
        } else if cs.attr & Segment::DEFAULT_32 != 0 {
            32
        } else {
            16
        };
        if bits != self.code_bits {
            self.code_bits = bits;
            self.forget_shortcuts();
        }
    }

    /// Something that decides translations changed: look everything up anew.
    #[inline]
    pub(crate) const fn forget_shortcuts(&mut self) {
        self.tlb.generation += 1;
    }

    #[inline]
    pub(crate) const fn interrupts_enabled(&self) -> bool {
        self.rflags & flags::IF != 0
    }
}
