//! The APIC's registers by MMIO and MSR, and the interrupts that writing the ICR sends (S:10.6, S:10.12).

use super::Machine;
use super::apic::{ApicMode, ESR_SENT_ILLEGAL, Requests, base, reg};
use super::arrival::delivery;
use super::event::EventKind;
use super::fault::{Exec, GP0, Missing, Trap};
use super::knobs::{IcrBusy, IcrReorder};
use super::msr::num;

/// ICR bits (S:Figure 10-12, 10-28).
const ICR_LOGICAL: u64 = 1 << 11;
const ICR_BUSY: u64 = 1 << 12;
const ICR_ASSERT: u64 = 1 << 14;
const ICR_LEVEL: u64 = 1 << 15;
const ICR_RESERVED: u64 = 0xfff3_3000;
/// Broadcast destinations.
const XAPIC_BROADCAST: u32 = 0xff;
const X2APIC_BROADCAST: u32 = u32::MAX;
/// Polls that read busy with the knob `icr-busy=three-polls`.
const BUSY_POLLS: u8 = 3;

impl Machine {
    /// A 32-bit read in the APIC page.
    pub(crate) fn apic_mmio_read(&mut self, c: usize, phys: u64, size: u8) -> Exec<u64> {
        if size != 4 || !phys.is_multiple_of(16) {
            return Err(Trap::missing(Missing::ApicAccess));
        }
        let register = ((phys & 0xfff) >> 4) as u32;
        if register == reg::ICR {
            return Ok(u64::from(self.cpus[c].apic.icr as u32) & !ICR_BUSY | self.delivery_status(c));
        }
        // Reserved registers read as zero here (S:10.4.1: undefined), with no side effect.
        Ok(u64::from(self.cpus[c].apic.read(register).unwrap_or(0)))
    }

    fn delivery_status(&mut self, c: usize) -> u64 {
        let polls = &mut self.cpus[c].apic.busy_polls;
        if *polls == 0 {
            return 0;
        }
        if *polls != u8::MAX {
            *polls -= 1;
        }
        ICR_BUSY
    }

    /// A 32-bit write in the APIC page. The page is uncached: earlier stores are already visible.
    pub(crate) fn apic_mmio_write(&mut self, c: usize, phys: u64, size: u8, value: u32) -> Exec<()> {
        if size != 4 || !phys.is_multiple_of(16) {
            return Err(Trap::missing(Missing::ApicAccess));
        }
        let register = ((phys & 0xfff) >> 4) as u32;
        self.cpus[c].attention = true;
        match register {
            reg::ICR_HIGH => {
                let apic = &mut self.cpus[c].apic;
                apic.icr = (apic.icr & 0xffff_ffff) | (u64::from(value) << 32);
            }
            reg::ICR => {
                let apic = &mut self.cpus[c].apic;
                apic.icr = (apic.icr & !0xffff_ffff) | (u64::from(value) & !ICR_BUSY);
                let icr = apic.icr;
                self.cpus[c].apic.busy_polls = match self.knob::<IcrBusy>() {
                    IcrBusy::Idle => 0,
                    IcrBusy::ThreePolls => BUSY_POLLS,
                    IcrBusy::Stuck => u8::MAX,
                };
                self.send(c, icr as u32, (icr >> 56) as u32);
            }
            _ => {
                self.cpus[c].apic.write(register, value);
            }
        }
        Ok(())
    }

    /// RDMSR 800h-8FFh (S:10.12.1.2).
    pub(crate) fn x2apic_read(&mut self, c: usize, number: u32) -> Exec<u64> {
        let apic = &self.cpus[c].apic;
        let register = number - num::X2APIC_FIRST;
        if apic.mode() != ApicMode::X2apic
            || matches!(register, reg::EOI | reg::DFR | reg::ICR_HIGH | reg::SELF_IPI | reg::APR)
        {
            return Err(GP0);
        }
        if register == reg::ICR {
            return Ok(apic.icr);
        }
        apic.read(register).map(u64::from).ok_or(GP0)
    }

    /// WRMSR 800h-8FFh: not serialising (S:10.12.3), unless the knob says that the IPI waits for earlier stores.
    pub(crate) fn x2apic_write(&mut self, c: usize, number: u32, value: u64) -> Exec<()> {
        let apic = &self.cpus[c].apic;
        let register = number - num::X2APIC_FIRST;
        let read_only = matches!(
            register,
            reg::ID | reg::VERSION | reg::APR | reg::PPR | reg::LDR | reg::DFR | reg::ICR_HIGH | reg::TIMER_CURRENT
        ) || (reg::ISR..reg::ESR).contains(&register);
        if apic.mode() != ApicMode::X2apic || read_only {
            return Err(GP0);
        }
        self.cpus[c].attention = true;
        match register {
            reg::ICR => {
                if value & ICR_RESERVED != 0 {
                    return Err(GP0);
                }
                if !self.cpus[c].stores.is_empty() && self.knob::<IcrReorder>() == IcrReorder::Off {
                    self.drain_all(c);
                }
                self.cpus[c].apic.icr = value;
                self.send(c, value as u32, (value >> 32) as u32);
            }
            reg::SELF_IPI => {
                if value > 0xff {
                    return Err(GP0);
                }
                self.arrive_fixed(c, value as u8);
            }
            reg::EOI | reg::ESR if value != 0 => return Err(GP0),
            _ => {
                if value >> 32 != 0 || !self.cpus[c].apic.write(register, value as u32) {
                    return Err(GP0);
                }
            }
        }
        Ok(())
    }

    /// WRMSR IA32_APIC_BASE: the allowed changes of mode (S:10.12.5).
    pub(crate) fn write_apic_base(&mut self, c: usize, value: u64) -> Exec<()> {
        let mode_bits = base::EN | base::EXTD;
        let width = u32::from(self.features.max_phys_bits);
        let address_bits = ((1u64 << width) - 1) & !0xfff;
        let known = base::BSP | mode_bits | address_bits;
        let old = self.cpus[c].apic.base;
        let (from, to) = (old & mode_bits, value & mode_bits);
        let illegal = to == base::EXTD || (from == mode_bits && to == base::EN) || (from == 0 && to == mode_bits);
        if value & !known != 0 || illegal || (to & base::EXTD != 0 && !self.features.x2apic) {
            return Err(GP0);
        }
        if value & base::ADDR != base::DEFAULT {
            return Err(Trap::missing(Missing::ApicMove));
        }
        let apic = &mut self.cpus[c].apic;
        apic.base = value;
        if from != 0 && to == 0 {
            // Disabling resets the registers (S:10.4.3).
            apic.init(Requests::Dropped);
        }
        self.cpus[c].attention = true;
        Ok(())
    }

    /// Whether `c` answers to a destination in logical mode (S:10.6.2.2, S:10.12.10).
    fn logical_match(&self, c: usize, destination: u32) -> bool {
        let apic = &self.cpus[c].apic;
        match apic.mode() {
            ApicMode::Disabled => false,
            ApicMode::X2apic => {
                let ldr = apic.x2apic_ldr();
                destination == X2APIC_BROADCAST || (ldr >> 16 == destination >> 16 && ldr & destination & 0xffff != 0)
            }
            ApicMode::Xapic => {
                let id = apic.ldr >> 24;
                if apic.dfr >> 28 == 0xf {
                    destination & id != 0
                } else {
                    id >> 4 == (destination >> 4) & 0xf && id & destination & 0xf != 0
                }
            }
        }
    }

    fn physical_match(&self, c: usize, destination: u32, sender: ApicMode) -> bool {
        let apic = &self.cpus[c].apic;
        match apic.mode() {
            // Globally disabled, an APIC receives nothing (S:10.4.3).
            ApicMode::Disabled => false,
            // In xAPIC mode an APIC knows eight bits of its id.
            ApicMode::Xapic if sender == ApicMode::X2apic => {
                destination == X2APIC_BROADCAST || apic.id & 0xff == destination
            }
            _ if sender == ApicMode::X2apic => destination == X2APIC_BROADCAST || apic.id == destination,
            ApicMode::Xapic => destination == XAPIC_BROADCAST || apic.id & 0xff == destination,
            ApicMode::X2apic => destination == XAPIC_BROADCAST || apic.id == destination,
        }
    }

    /// An IPI leaves `sender` (S:10.6.1).
    fn send(&mut self, sender: usize, low: u32, destination: u32) {
        let mode = (low >> 8) & 7;
        let requested = low as u8;
        let low = u64::from(low);
        if mode == delivery::INIT && low & ICR_LEVEL != 0 && low & ICR_ASSERT == 0 {
            // INIT level de-assert: ignored since Pentium 4 (S:10.4.7.4).
            return;
        }
        let kind = match mode {
            delivery::FIXED | delivery::LOWEST => {
                if requested < 16 {
                    self.cpus[sender].apic.note_error(ESR_SENT_ILLEGAL);
                    return;
                }
                EventKind::Fixed(requested)
            }
            delivery::SMI => EventKind::Smi,
            delivery::NMI => EventKind::Nmi,
            delivery::INIT => EventKind::Init,
            delivery::STARTUP => EventKind::Sipi(requested),
            _ => return,
        };
        let sender_mode = self.cpus[sender].apic.mode();
        let shorthand = (low >> 18) & 3;
        for c in 0..self.cpus.len() {
            let chosen = match shorthand {
                0 if low & ICR_LOGICAL != 0 => self.logical_match(c, destination),
                0 => self.physical_match(c, destination, sender_mode),
                1 => c == sender,
                2 => self.cpus[c].apic.mode() != ApicMode::Disabled,
                _ => c != sender && self.cpus[c].apic.mode() != ApicMode::Disabled,
            };
            if chosen {
                if self.trace.is_on() {
                    self.record_ipi(sender, c, kind);
                }
                self.arrive(c, kind);
                if mode == delivery::LOWEST && shorthand == 0 {
                    return;
                }
            }
        }
    }
}
