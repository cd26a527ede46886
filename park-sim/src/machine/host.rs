//! What host-modelled kernel code does on a CPU: accesses, registers and instructions, with the same rules as decoded code.

/// An exception that an access or instruction raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code, where the vector has one.
    pub error: Option<u32>,
}

/// Instructions that host-modelled code can execute by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Special {
    /// VMXON (state only).
    Vmxon,
    /// VMXOFF.
    Vmxoff,
    /// CLGI.
    Clgi,
    /// STGI.
    Stgi,
    /// TILERELEASE.
    TileRelease,
    /// WBINVD.
    Wbinvd,
    /// WBNOINVD.
    Wbnoinvd,
    /// INVD.
    Invd,
    /// MFENCE.
    Mfence,
    /// LFENCE.
    Lfence,
    /// SFENCE.
    Sfence,
    /// SERIALIZE.
    Serialize,
    /// CLI.
    Cli,
    /// STI.
    Sti,
    /// CLD.
    Cld,
    /// HLT: the CPU waits; `rip` stays where it is.
    Hlt,
    /// PAUSE.
    Pause,
    /// SWAPGS.
    Swapgs,
}

/// Registers reachable through [`super::Machine::read_reg`] and [`super::Machine::write_reg`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostReg {
    /// CR0.
    Cr0,
    /// CR2.
    Cr2,
    /// CR3; writing flushes as MOV does.
    Cr3,
    /// CR4.
    Cr4,
    /// CR8.
    Cr8,
    /// XCR0, as XSETBV.
    Xcr0,
    /// A debug register by number.
    Dr(u8),
    /// An MSR by number.
    Msr(u32),
}

use super::Machine;
use super::activity::Outcome;
use super::apic::ApicMode;
use super::bits::cr0;
use super::breach::AccessKind;
use super::fault::{Cause, Exec, GP0};
use super::msr::num;
use super::op::{Kind, Op};
use super::paging::{Dir, Place};

/// Flags of the ICR's low half for [`Machine::send_ipi`] (S:10.6.1).
pub mod icr {
    /// Fixed delivery: add the vector.
    pub const FIXED: u32 = 0x4000;
    /// SMI.
    pub const SMI: u32 = 0x4200;
    /// NMI.
    pub const NMI: u32 = 0x4400;
    /// INIT.
    pub const INIT: u32 = 0x4500;
    /// STARTUP: add the page number.
    pub const STARTUP: u32 = 0x4600;
    /// To all but the sender.
    pub const ALL_BUT_SELF: u32 = 0xc_0000;
}

/// The privilege level in CS (S:3.4.2).
const CPL_MASK: u16 = 3;
/// MMIO offsets of the ICR (S:Table 10-1).
const ICR_LOW_OFFSET: u64 = 0x300;
const ICR_HIGH_OFFSET: u64 = 0x310;

impl Machine {
    pub(crate) fn host<T>(&mut self, cpu: usize, result: Exec<T>) -> Result<T, Exception> {
        match result {
            Ok(value) => Ok(value),
            Err(trap) => {
                if let Cause::Fault(fault) = trap.cause() {
                    return Err(Exception { vector: fault.vector, error: fault.error });
                }
                self.stop_unsupported(cpu, trap);
                Err(Exception { vector: super::bits::vector::UD, error: None })
            }
        }
    }

    /// The physical place of a host-modelled access: write-back, by the frame's tag, without a page walk.
    fn host_place(&self, phys: u64) -> Place {
        Place { phys, frame: self.memory.frame_of(phys), uncached: false, write_back: true }
    }

    /// An aligned 64-bit load at a physical address by `cpu`, through its store buffer. An unaligned address is rounded down.
    pub fn load(&mut self, cpu: usize, phys: u64) -> u64 {
        self.load_sized(cpu, phys, 8)
    }

    /// As [`Machine::load`] for 1, 2, 4 or 8 bytes; `phys` is rounded down to a multiple of `bytes`.
    pub fn load_sized(&mut self, cpu: usize, phys: u64, bytes: u8) -> u64 {
        if cpu >= self.cpus.len() || !matches!(bytes, 1 | 2 | 4 | 8) {
            return 0;
        }
        let place = self.host_place(phys & !(u64::from(bytes) - 1));
        let result = self.read_place(cpu, &place, bytes, AccessKind::Read);
        self.host(cpu, result).unwrap_or(0)
    }

    /// An aligned 64-bit store at a physical address by `cpu`, into its store buffer. An unaligned address is rounded down.
    pub fn store(&mut self, cpu: usize, phys: u64, value: u64) {
        self.store_sized(cpu, phys, 8, value);
    }

    /// As [`Machine::store`] for 1, 2, 4 or 8 bytes.
    pub fn store_sized(&mut self, cpu: usize, phys: u64, bytes: u8, value: u64) {
        if cpu >= self.cpus.len() || !matches!(bytes, 1 | 2 | 4 | 8) {
            return;
        }
        let place = self.host_place(phys & !(u64::from(bytes) - 1));
        let value = value & super::exec::mask(bytes);
        let result = self.write_place(cpu, &place, bytes, value, AccessKind::Write);
        let _ = self.host(cpu, result);
    }

    /// A locked 64-bit compare-and-exchange at a physical address by `cpu`; returns what was there.
    pub fn compare_exchange(&mut self, cpu: usize, phys: u64, expected: u64, new: u64) -> u64 {
        if cpu >= self.cpus.len() {
            return 0;
        }
        let place = self.host_place(phys & !7);
        self.lock_drain(cpu);
        let result = self.read_place(cpu, &place, 8, AccessKind::Write);
        let old = self.host(cpu, result).unwrap_or(0);
        let result = self.write_locked(cpu, &place, 8, if old == expected { new } else { old });
        let _ = self.host(cpu, result);
        old
    }

    /// MFENCE by `cpu`.
    pub fn fence(&mut self, cpu: usize) {
        let _ = self.exec_special(cpu, Special::Mfence);
    }

    /// An aligned 64-bit load at a linear address by `cpu`, through its page tables.
    ///
    /// # Errors
    /// The exception that a MOV would raise.
    pub fn load_linear(&mut self, cpu: usize, linear: u64, bytes: u8) -> Result<u64, Exception> {
        if cpu >= self.cpus.len() || !matches!(bytes, 1 | 2 | 4 | 8) {
            return Ok(0);
        }
        let result = self.read_linear(cpu, linear, bytes, AccessKind::Read);
        self.host(cpu, result)
    }

    /// A store at a linear address by `cpu`, through its page tables and store buffer.
    ///
    /// # Errors
    /// The exception that a MOV would raise.
    pub fn store_linear(&mut self, cpu: usize, linear: u64, bytes: u8, value: u64) -> Result<(), Exception> {
        if cpu >= self.cpus.len() || !matches!(bytes, 1 | 2 | 4 | 8) {
            return Ok(());
        }
        let result = self.write_linear(cpu, linear, bytes, value & super::exec::mask(bytes), AccessKind::Write);
        self.host(cpu, result)
    }

    /// The physical address that `cpu` would read at `linear`; walks the tables as a read does.
    ///
    /// # Errors
    /// The exception that a read would raise.
    pub fn translate_read(&mut self, cpu: usize, linear: u64) -> Result<u64, Exception> {
        if cpu >= self.cpus.len() {
            return Ok(0);
        }
        let result = self.translate(cpu, linear, Dir::Read, AccessKind::Read).map(|place| place.phys);
        self.host(cpu, result)
    }

    /// A speculative page walk of `cpu`: legal at any time for any linear address (S:4.10.2.3). It reads tables, caches what it finds and never
    /// faults. Returns whether there was a translation.
    pub fn speculate(&mut self, cpu: usize, linear: u64) -> bool {
        if cpu >= self.cpus.len() || !self.cpus[cpu].paging() || !self.canonical(cpu, linear) {
            return false;
        }
        let fault_linear = self.cpus[cpu].fault_linear;
        let found = self.translate(cpu, linear, Dir::Read, AccessKind::Read).is_ok();
        self.cpus[cpu].fault_linear = fault_linear;
        found
    }

    /// CPUID on `cpu`, with the bits that follow its control registers and id.
    #[must_use]
    pub fn cpuid(&self, cpu: usize, leaf: u32, subleaf: u32) -> super::CpuidRegs {
        self.cpuid_as_seen(cpu.min(self.cpus.len() - 1), leaf, subleaf)
    }

    /// #GP(0) unless the CPU is at CPL 0, which host-modelled code alone can leave: by a CS with another RPL (S:5.9).
    fn privileged(&self, cpu: usize) -> Exec<()> {
        let state = &self.cpus[cpu];
        let level = state.segs[super::Seg::Cs as usize].selector & CPL_MASK;
        if state.cr0 & cr0::PE != 0 && level != 0 { Err(GP0) } else { Ok(()) }
    }

    /// Reads a register on `cpu` as its instruction would.
    ///
    /// # Errors
    /// The exception that the instruction would raise. An MSR outside the model stops the run and reports #UD.
    pub fn read_reg(&mut self, cpu: usize, reg: HostReg) -> Result<u64, Exception> {
        let cpu = cpu.min(self.cpus.len() - 1);
        let allowed = self.privileged(cpu);
        self.host(cpu, allowed)?;
        let state = &self.cpus[cpu];
        Ok(match reg {
            HostReg::Cr0 => state.cr0,
            HostReg::Cr2 => state.cr2,
            HostReg::Cr3 => state.cr3,
            HostReg::Cr4 => state.cr4,
            HostReg::Cr8 => u64::from(state.apic.tpr >> 4),
            HostReg::Xcr0 => state.xcr0,
            HostReg::Dr(n) => state.dr[usize::from(if n == 4 || n == 5 { n + 2 } else { n & 7 })],
            HostReg::Msr(number) => {
                let result = self.rdmsr(cpu, number);
                return self.host(cpu, result);
            }
        })
    }

    /// Writes a register on `cpu` as its instruction would, with its flushes and serialisation.
    ///
    /// # Errors
    /// The exception that the instruction would raise; nothing changes then. An MSR outside the model stops the run and reports #UD.
    pub fn write_reg(&mut self, cpu: usize, reg: HostReg, value: u64) -> Result<(), Exception> {
        let cpu = cpu.min(self.cpus.len() - 1);
        let allowed = self.privileged(cpu);
        self.host(cpu, allowed)?;
        let result = match reg {
            HostReg::Cr0 => self.write_cr0(cpu, value),
            HostReg::Cr2 => {
                self.cpus[cpu].cr2 = value;
                Ok(())
            }
            HostReg::Cr3 => self.write_cr3(cpu, value),
            HostReg::Cr4 => self.write_cr4(cpu, value),
            HostReg::Cr8 => self.write_cr8(cpu, value),
            HostReg::Xcr0 => self.write_xcr0(cpu, value),
            HostReg::Dr(n) => self.write_dr(cpu, n, value),
            HostReg::Msr(number) => self.wrmsr(cpu, number, value),
        };
        self.host(cpu, result)
    }

    /// RDMSR on `cpu`.
    ///
    /// # Errors
    /// As [`Machine::read_reg`].
    pub fn read_msr(&mut self, cpu: usize, number: u32) -> Result<u64, Exception> {
        self.read_reg(cpu, HostReg::Msr(number))
    }

    /// WRMSR on `cpu`.
    ///
    /// # Errors
    /// As [`Machine::write_reg`].
    pub fn write_msr(&mut self, cpu: usize, number: u32, value: u64) -> Result<(), Exception> {
        self.write_reg(cpu, HostReg::Msr(number), value)
    }

    /// Executes an instruction without operands on `cpu`; RIP stays.
    ///
    /// # Errors
    /// The exception that it raises.
    pub fn exec_special(&mut self, cpu: usize, special: Special) -> Result<(), Exception> {
        let kind = match special {
            Special::Vmxon => Kind::Vmxon,
            Special::Vmxoff => Kind::Vmxoff,
            Special::Clgi => Kind::Clgi,
            Special::Stgi => Kind::Stgi,
            Special::TileRelease => Kind::Tilerelease,
            Special::Wbinvd => Kind::Wbinvd,
            Special::Wbnoinvd => Kind::Wbnoinvd,
            Special::Invd => Kind::Invd,
            Special::Mfence => Kind::Mfence,
            Special::Lfence => Kind::Lfence,
            Special::Sfence => Kind::Sfence,
            Special::Serialize => Kind::Serialize,
            Special::Cli => Kind::Cli,
            Special::Sti => Kind::Sti,
            Special::Cld => Kind::Cld,
            Special::Hlt => Kind::Hlt,
            Special::Pause => Kind::Pause,
            Special::Swapgs => Kind::Swapgs,
        };
        let cpu = cpu.min(self.cpus.len() - 1);
        self.cpus[cpu].next_rip = self.cpus[cpu].rip;
        let op = Op::plain(kind);
        let result = self.execute(cpu, &op);
        self.outcome = Outcome::Executed;
        self.host(cpu, result)
    }

    /// Sends an IPI from `cpu` by its ICR: one WRMSR in x2APIC mode, else two stores to the memory-mapped registers at their physical address.
    /// `icr_low` is the low half ([`icr`]); success says that the local APIC has it.
    ///
    /// # Errors
    /// The exception of the WRMSR.
    pub fn send_ipi(&mut self, cpu: usize, destination: u32, icr_low: u32) -> Result<(), Exception> {
        let cpu = cpu.min(self.cpus.len() - 1);
        if self.cpus[cpu].apic.mode() == ApicMode::X2apic {
            let value = (u64::from(destination) << 32) | u64::from(icr_low);
            return self.write_msr(cpu, num::X2APIC_FIRST + super::apic::reg::ICR, value);
        }
        let base = self.cpus[cpu].apic.base & super::apic::base::ADDR;
        self.store_sized(cpu, base + ICR_HIGH_OFFSET, 4, u64::from(destination) << 24);
        self.store_sized(cpu, base + ICR_LOW_OFFSET, 4, u64::from(icr_low));
        Ok(())
    }
}
