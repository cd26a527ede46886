//! Steps in assembly, on the way into the lot: what arrives with the CPU if one of them is missing.

use super::{Found, Harm, Stage, Step};
use crate::machine::{EventKind, HostReg, Vendor};
use crate::world::{FrameKind, HandlerKind, WorldError};
use core::cell::Cell;
use iced_x86::{Mnemonic, OpKind};
use park_core::Mechanism::Hlt;
use park_core::op::Wake;
use park_x86::frame::{FLAG_CET, FLAG_FRED, FLAG_MCA};
use park_x86::registers::control::{Cr4, Rflags};
use park_x86::registers::msr;

pub(super) const ALL: &[Harm] = &[
    Harm::new("s-cet-off", Vendor::Intel, Hlt, |stage| cet(stage, ENDBR_EN), Stage::wake)
        .variant("endbranch")
        .at_owner_text(keep_cet),
    Harm::new("s-cet-off", Vendor::Intel, Hlt, |stage| cet(stage, SH_STK_EN), Stage::wake)
        .variant("shadow-stack")
        .at_owner_text(keep_cet),
    Harm::new("fred-off", Vendor::Intel, Hlt, fred, nmi_then_wake).at_owner_text(keep_fred),
    Harm::new("mcip-clear", Vendor::Intel, Hlt, in_mc_handler, mc_then_wake).at_owner_text(keep_mcip),
    Harm::new("lass-off", Vendor::Intel, Hlt, |stage| cr4_on(stage, Cr4::LASS), Stage::wake)
        .at_owner_text(|stage, step| keep(stage, step, Cr4::LASS)),
    Harm::new("pks-off", Vendor::Intel, Hlt, protection_keys, Stage::wake)
        .at_owner_text(|stage, step| keep(stage, step, Cr4::PKS)),
    Harm::new("global-pages-off", Vendor::Intel, Hlt, global_page, Stage::wake)
        .at_owner_text(|stage, step| keep(stage, step, Cr4::PGE)),
    Harm::new("pcid-off", Vendor::Intel, Hlt, other_pcid, stale_pcid)
        .at_owner_text(|stage, step| keep(stage, step, Cr4::PCIDE)),
    Harm::new("descriptor-tables", Vendor::Intel, Hlt, |_| {}, overwritten_then_nmi).at_owner_text(keep_idt),
    Harm::new("nested-task-clear", Vendor::Intel, Hlt, nested_task, Stage::wake).at_owner_text(keep_flags),
];

/// IA32_S_CET (Intel SDM vol. 1, "Control-flow Enforcement Technology").
const SH_STK_EN: u64 = 1 << 0;
const ENDBR_EN: u64 = 1 << 2;
/// IA32_FRED_CONFIG (FRED specification, "Enabling and Configuring FRED").
const FRED_CONFIG: u32 = 0x1d4;
/// Offsets in the kernel: a shadow stack, FRED entry points, a page that is looked at.
const SHADOW_STACK_TOP: u64 = 0x30_1000;
const FRED_ENTRIES: u64 = 0x30_2000;
const LOOKED_AT: u64 = 0x30_3000;
/// IA32_PKRS: writes to pages with key 0 are denied (Intel SDM vol. 3, "Protection Keys").
const DENY_WRITES_KEY_0: u64 = 1 << 1;
/// A table entry's key 1.
const KEY_1: u64 = 1 << 59;
/// A table entry's global bit.
const GLOBAL: u64 = 1 << 8;
/// A process-context identifier, and CR3's bit that keeps its translations.
const PCID: u64 = 5;
const NO_FLUSH: u64 = 1 << 63;
/// Offset of CR4 in a frame, for a departure that keeps a bit.
const FRAME_CR4: u64 = 0x20;

fn cr4_on(stage: &mut Stage, bits: Cr4) {
    stage.change(HostReg::Cr4, |cr4| cr4 | bits.bits());
}

/// The CPU arrives with these bits of CR4 as they are.
fn keep(stage: &mut Stage, step: Step, bits: Cr4) -> Result<(), WorldError> {
    if step == Step::Taken {
        return Ok(());
    }
    stage.rewrite_arrival(|arrival| arrival.cr4 |= bits.bits())
}

fn cet(stage: &mut Stage, what: u64) {
    stage.set(HostReg::Msr(msr::S_CET), what);
    stage.world.machine.cpu_mut(stage.cpu).ssp = stage.world.kernel.base + SHADOW_STACK_TOP;
    cr4_on(stage, Cr4::CET);
}

fn keep_cet(stage: &mut Stage, step: Step) -> Result<(), WorldError> {
    if step == Step::Taken {
        return Ok(());
    }
    stage.rewrite_arrival(|arrival| {
        arrival.flags &= !FLAG_CET;
        arrival.cr4 |= Cr4::CET.bits();
    })
}

fn fred(stage: &mut Stage) {
    stage.set(HostReg::Msr(FRED_CONFIG), stage.world.kernel.base + FRED_ENTRIES);
    cr4_on(stage, Cr4::FRED);
}

fn keep_fred(stage: &mut Stage, step: Step) -> Result<(), WorldError> {
    if step == Step::Taken {
        return Ok(());
    }
    stage.rewrite_arrival(|arrival| {
        arrival.flags &= !FLAG_FRED;
        arrival.cr4 |= Cr4::FRED.bits();
    })
}

fn nmi_then_wake(stage: &mut Stage) -> Result<Found, WorldError> {
    match stage.disturb(EventKind::Nmi)? {
        Some(found) => Ok(Some(found)),
        None => stage.wake(),
    }
}

fn in_mc_handler(stage: &mut Stage) {
    let _ = stage.world.interrupt(stage.cpu, HandlerKind::Mc);
}

fn keep_mcip(stage: &mut Stage, step: Step) -> Result<(), WorldError> {
    if step == Step::Taken {
        return Ok(());
    }
    stage.rewrite_arrival(|arrival| arrival.flags &= !FLAG_MCA)
}

fn mc_then_wake(stage: &mut Stage) -> Result<Found, WorldError> {
    match stage.disturb(EventKind::MachineCheck)? {
        Some(found) => Ok(Some(found)),
        None => stage.wake(),
    }
}

/// The kernel's own pages have key 1; key 0, which the lot's pages have, is denied.
fn protection_keys(stage: &mut Stage) {
    stage.mark_kernel_pages(KEY_1);
    stage.set(HostReg::Msr(msr::PKRS), DENY_WRITES_KEY_0);
    cr4_on(stage, Cr4::PKS);
}

/// A global translation of the kernel's at the linear addresses of the bay code, in use.
fn global_page(stage: &mut Stage) {
    stage.shadow_the_lot(GLOBAL);
    cr4_on(stage, Cr4::PGE);
    let code = crate::world::DEFAULT_LOT.0 + park_core::lot::header::CODE_OFFSET;
    let _ = stage.world.machine.load_linear(stage.cpu, code, 8);
}

fn other_pcid(stage: &mut Stage) {
    cr4_on(stage, Cr4::PCIDE);
    stage.set(HostReg::Cr3, stage.world.kernel.root | PCID);
    let _ = stage.world.machine.load_linear(stage.cpu, stage.world.kernel.base + LOOKED_AT, 8);
}

/// The next kernel uses PCIDs too, and takes a CPU that it has not used yet for one without translations.
fn stale_pcid(stage: &mut Stage) -> Result<Found, WorldError> {
    let dead = stage.world.kernel.base + LOOKED_AT;
    stage.next_kernel()?;
    let entry = stage.world.entry(stage.cpu)?;
    let frame = stage.world.kernel.phys(stage.world.kernel.placement(stage.cpu, FrameKind::Departure).frame);
    let cr4 = stage.world.machine.read_phys_u64(frame + FRAME_CR4) | Cr4::PCIDE.bits();
    stage.world.machine.write_phys(frame + FRAME_CR4, &cr4.to_le_bytes());
    let (boss, bay, timing) = (stage.boss, stage.bay_in_use()?, stage.world.timing());
    stage.world.drive(boss, Wake::new(bay, entry, timing))?;
    if let Some(found) = stage.settle()? {
        return Ok(Some(found));
    }
    stage.set(HostReg::Cr3, stage.world.kernel.root | PCID | NO_FLUSH);
    let served = stage.world.machine.load_linear(stage.cpu, dead, 8).is_ok();
    Ok(served.then(|| "a translation of the dead kernel's serves the next one".to_owned()))
}

fn keep_idt(stage: &mut Stage, step: Step) -> Result<(), WorldError> {
    if step == Step::LeftOut {
        stage.cut_from_way_in(|instruction| instruction.mnemonic() == Mnemonic::Lidt)?;
    }
    Ok(())
}

fn overwritten_then_nmi(stage: &mut Stage) -> Result<Found, WorldError> {
    stage.next_kernel()?;
    nmi_then_wake(stage)
}

fn nested_task(stage: &mut Stage) {
    stage.world.machine.cpu_mut(stage.cpu).rflags |= Rflags::NT.bits();
}

/// PUSH 2 and POPFQ, which load RFLAGS: the first PUSH of a 2 on the way in.
fn keep_flags(stage: &mut Stage, step: Step) -> Result<(), WorldError> {
    if step == Step::Taken {
        return Ok(());
    }
    let first = Cell::new(true);
    stage.cut_from_way_in(|instruction| match instruction.mnemonic() {
        Mnemonic::Popfq => true,
        Mnemonic::Push if instruction.op0_kind() != OpKind::Register && instruction.immediate8() == 2 => {
            first.replace(false)
        }
        _ => false,
    })?;
    Ok(())
}
