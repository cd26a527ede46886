//! INIT and SIPI (S:8.4, S:Table 9-1; A:14.1, A:16.5).

use super::activity::{Activity, Delivered, Outcome, ResetCause};
use super::bits::{cr0, efer};
use super::boundary::VM_CR_R_INIT;
use super::config::Vendor;
use super::cpu::{Latches, Seg, Segment};
use super::knobs::{IrrAcrossInitAmd, NmiAcrossInit, NmiBlockAcrossInit, RInitAcrossInit, TlbAcrossInit};
use super::msr::num;
use super::rules::Rule;
use super::setup::{DR6_RESET, DR7_RESET};
use super::{Machine, apic};

/// VM_CR bits (A:15.30.1).
const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVMDIS: u64 = 1 << 4;

impl Machine {
    /// INIT is taken: table 2.1 of events.md by vendor.
    pub(crate) fn take_init(&mut self, c: usize) -> Outcome {
        self.drain_all(c);
        self.disarm(c);
        let signature = self.config.cpuid.get(1, 0).eax;
        let amd = self.config.vendor == Vendor::Amd;
        let keep_nmi = self.cpus[c].latches.nmi != 0 && self.knob::<NmiAcrossInit>() == NmiAcrossInit::Kept;
        let keep_block = self.cpus[c].nmi_blocked && self.knob::<NmiBlockAcrossInit>() == NmiBlockAcrossInit::Kept;
        let kept = amd && self.cpus[c].apic.irr != [0; 4] && self.knob::<IrrAcrossInitAmd>() == IrrAcrossInitAmd::Kept;
        let requests = if kept { apic::Requests::Kept } else { apic::Requests::Dropped };
        let flush = self.cpus[c].tlb.len() != 0 && self.knob::<TlbAcrossInit>() == TlbAcrossInit::Flushed;
        // Each CPU looks at its own IA32_APIC_BASE (S:8.4.2).
        let bsp = self.cpus[c].apic.base & apic::base::BSP != 0;
        let r_init = self.cpus[c].msr.vm_cr() & VM_CR_R_INIT != 0;
        let clear_r_init = r_init && self.knob::<RInitAcrossInit>() == RInitAcrossInit::Cleared;
        let rules = self.rules;
        let cpu = &mut self.cpus[c];
        let (old_cr4, old_efer, smm) = (cpu.cr4, cpu.efer, cpu.smm);
        cpu.reset_execution(signature);
        // Only RSM leads out of SMM: an INIT that is not held there is undone by the state that RSM loads.
        cpu.smm = smm;
        // CD and NW stay (S:Table 9-1 note 2; A:Table 14-1).
        cpu.cr0 = (cpu.cr0 & (cr0::CD | cr0::NW)) | cr0::ET;
        cpu.cr2 = 0;
        if rules.on(Rule::InitResetsControl) {
            cpu.cr3 = 0;
            cpu.cr4 = 0;
            cpu.efer = 0;
        } else {
            cpu.cr4 = old_cr4;
            cpu.efer = old_efer & !(efer::LMA | efer::LME);
        }
        if !(amd && rules.on(Rule::InitKeepsDebugAmd)) {
            cpu.dr = [0, 0, 0, 0, 0, 0, DR6_RESET, DR7_RESET];
        }
        if flush {
            cpu.tlb.flush_all();
        }
        cpu.msr.store(num::XSS, 0);
        cpu.msr.store(num::PKRS, 0);
        if cpu.msr.vm_cr() & VM_CR_LOCK == 0 {
            let value = cpu.msr.vm_cr() & !VM_CR_SVMDIS;
            cpu.msr.store(num::VM_CR, value);
        }
        if clear_r_init {
            let value = cpu.msr.vm_cr() & !VM_CR_R_INIT;
            cpu.msr.store(num::VM_CR, value);
        }
        if rules.on(Rule::InitDisablesApic) {
            cpu.apic.init(requests);
        }
        if !rules.on(Rule::InitKeepsApicMode) {
            cpu.apic.base = apic::base::DEFAULT | apic::base::EN | (cpu.apic.base & apic::base::BSP);
        }
        cpu.gif = true;
        cpu.vmx_root = false;
        cpu.nmi_blocked = keep_block;
        let smi = cpu.latches.smi;
        let mc = cpu.latches.mc;
        let nmi = if keep_nmi { cpu.latches.nmi } else { 0 };
        cpu.latches = Latches { smi, mc, nmi, ..Latches::default() };
        cpu.taken.init += 1;
        cpu.forget_shortcuts();
        cpu.attention = true;
        cpu.refresh_mode();
        if bsp && rules.on(Rule::InitRestartsBsp) {
            cpu.activity = Activity::ResetVector;
            self.reset_machine(ResetCause::BspInit { cpu: c });
            return Outcome::Delivered(Delivered::Reset);
        }
        if rules.on(Rule::InitParksAp) {
            cpu.activity = Activity::WaitForSipi;
        } else {
            cpu.activity = Activity::ResetVector;
        }
        Outcome::Delivered(Delivered::Init)
    }

    /// A SIPI starts the CPU in real mode at VV00h:0 (S:8.4.3). A held SMI is then taken before its first instruction (S:34.2 note).
    pub(crate) fn start_up(&mut self, c: usize, page: u8) {
        let cpu = &mut self.cpus[c];
        let code = cpu.segs[Seg::Cs as usize];
        cpu.segs[Seg::Cs as usize] = Segment { selector: u16::from(page) << 8, base: u64::from(page) << 12, ..code };
        cpu.rip = 0;
        cpu.activity = Activity::Running;
        cpu.taken.sipi += 1;
        cpu.attention = true;
        cpu.refresh_mode();
    }
}
