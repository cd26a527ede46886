//! Questions about what INIT keeps, and what is held in wait-for-SIPI.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::{Cpu, IpiSender, Register};
use park_x86::registers::apic::{IRR, nth};
use park_x86::registers::control::Efer;
use park_x86::registers::msr;

use super::nmi;
use super::panel::{Panel, QUIET_US, Reply};
use super::write_efer;
use crate::image::failure::Failure;
use crate::image::smp;
use crate::image::traps::FIXED_VECTOR;
use crate::image::{insn, probe};
use crate::platform::apic::{local_apic, send_fixed, this_cpu};

/// What the CPU that is asked has read.
static READ: AtomicU64 = AtomicU64::new(0);
/// In [`READ`]: it could not.
const UNREADABLE: u64 = u64::MAX;
/// Bits of one register of IRR.
const IRR_BITS: u16 = 32;
/// Any page that exists, for VM_HSAVE_PA; nothing is ever saved there.
const HSAVE: u64 = 0x10_0000;

/// The real-mode IVT's entry of the NMI: vector 2, four bytes, segment and offset (SDM vol. 3, 20.1.4).
const IVT_NMI: usize = 8;
/// Sixteen bytes of the BIOS data area that are kept for programs (IBM PS/2 BIOS reference, 40:F0h): the handler,
/// and its counter behind it.
const STUB: usize = 0x4f0;
const STUB_COUNTER: usize = 0x4fe;
/// `lock inc word cs:[4FEh]; iret`.
const STUB_CODE: [u8; 7] = [0xf0, 0x2e, 0xff, 0x06, 0xfe, 0x04, 0xcf];

extern "C" fn read_irr(_argument: u64) {
    let register = nth(IRR, u16::from(FIXED_VECTOR) / IRR_BITS);
    let bit = u16::from(FIXED_VECTOR) % IRR_BITS;
    let irr = this_cpu().read(Register::Apic(register));
    READ.store(irr.map_or(UNREADABLE, |irr| irr >> bit & 1), Ordering::Release);
}

pub(super) fn irr(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    send_fixed(cpu.apic_id, FIXED_VECTOR)?;
    panel.pass_us(QUIET_US);
    panel.run(read_irr, 0)?;
    let before = READ.load(Ordering::Acquire);
    if !panel.restart()? {
        return Ok(Reply::none("the CPU did not start again"));
    }
    panel.run(read_irr, 0)?;
    let after = READ.load(Ordering::Acquire);
    panel.run(smp::take_pending_interrupts, 0)?;
    panel.recover()?;
    let reply = match (before, after) {
        (1, 0) => Reply::answer("cleared"),
        (1, 1) => Reply::answer("kept"),
        _ => Reply::none("the interrupt was not pending before INIT"),
    };
    Ok(reply.with("before", before).with("after", after))
}

extern "C" fn unblock(_argument: u64) {
    insn::unblock_nmis();
}

pub(super) fn nmi_block(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    nmi::block(panel)?;
    let started = panel.restart()?;
    nmi::release();
    if !started {
        return Ok(Reply::none("the CPU did not start again"));
    }
    let count = || cpu.nmi_count.load(Ordering::Acquire);
    let before = count();
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let held = count();
    panel.run(unblock, 0)?;
    panel.pass_us(QUIET_US);
    let after = count();
    panel.recover()?;
    let answer = match (held - before, after - held) {
        (1.., _) => "cleared",
        (0, 1..) => "kept",
        (0, 0) => "no-nmi",
    };
    Ok(Reply::answer(answer).with("before_iret", held - before).with("after_iret", after - held))
}

extern "C" fn write_hsave(value: u64) {
    // SAFETY: no VMRUN is ever executed.
    let written = write_efer(|efer| efer | Efer::SVME.bits())
        .ok()
        .and_then(|()| unsafe { probe::wrmsr(msr::AMD_VM_HSAVE_PA, value) });
    READ.store(if written.is_some() { value } else { UNREADABLE }, Ordering::Release);
    let _ = write_efer(|efer| efer & !Efer::SVME.bits());
}

extern "C" fn read_hsave(_argument: u64) {
    READ.store(probe::rdmsr(msr::AMD_VM_HSAVE_PA).unwrap_or(UNREADABLE), Ordering::Release);
}

pub(super) fn hsave(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    panel.run(write_hsave, HSAVE)?;
    if READ.load(Ordering::Acquire) != HSAVE {
        return Ok(Reply::none("VM_HSAVE_PA can't be written"));
    }
    panel.run(read_hsave, 0)?;
    let before = READ.load(Ordering::Acquire);
    if !panel.restart()? {
        return Ok(Reply::none("the CPU did not start again"));
    }
    panel.run(read_hsave, 0)?;
    let after = READ.load(Ordering::Acquire);
    panel.run(write_hsave, 0)?;
    panel.recover()?;
    let reply = match (before, after) {
        (HSAVE, HSAVE) => Reply::answer("kept"),
        (HSAVE, 0) => Reply::answer("cleared"),
        _ => Reply::none("VM_HSAVE_PA reads as something else"),
    };
    Ok(reply.with("before", before).with("after", after))
}

/// The NMI's real-mode handler, in place of whatever was there, until it is taken back.
struct RealModeHandler {
    vector: [u8; 4],
    area: [u8; 16],
}

impl RealModeHandler {
    fn install() -> Self {
        let before = Self { vector: low_bytes(IVT_NMI), area: low_bytes(STUB) };
        let mut area = [0; 16];
        area[..STUB_CODE.len()].copy_from_slice(&STUB_CODE);
        write_low_bytes(STUB, area);
        write_low_bytes(IVT_NMI, (STUB as u32).to_le_bytes());
        before
    }

    /// Takes the handler back; says how often it ran.
    fn remove(self) -> u64 {
        let count = u16::from_le_bytes(low_bytes(STUB_COUNTER));
        write_low_bytes(IVT_NMI, self.vector);
        write_low_bytes(STUB, self.area);
        count.into()
    }
}

fn low_bytes<const N: usize>(at: usize) -> [u8; N] {
    let from: *const [u8; N] = core::ptr::with_exposed_provenance(at);
    // SAFETY: the first page: mapped, and nobody's but firmware's, which does not run.
    unsafe { from.read_volatile() }
}

fn write_low_bytes<const N: usize>(at: usize, bytes: [u8; N]) {
    let to: *mut [u8; N] = core::ptr::with_exposed_provenance_mut(at);
    // SAFETY: as above.
    unsafe { to.write_volatile(bytes) }
}

/// What was handled in real mode, and by the image after an IRET; `None` if the CPU did not come back.
fn handled_over_restart(panel: &mut Panel<'_>, before: u64) -> Result<Option<(u64, u64)>, Failure> {
    let cpu = panel.asked()?;
    let handler = RealModeHandler::install();
    let started = panel.restart();
    let real_mode = handler.remove();
    if !started? {
        return Ok(None);
    }
    // If it is held by blocking that INIT kept.
    panel.run(unblock, 0)?;
    panel.pass_us(QUIET_US);
    let image = cpu.nmi_count.load(Ordering::Acquire) - before;
    panel.recover()?;
    Ok(Some((real_mode, image)))
}

fn kept_or(handled: Option<(u64, u64)>, kept: &'static str, dropped: &'static str) -> Reply {
    let Some((real_mode, image)) = handled else { return Reply::none("the CPU did not start again") };
    let answer = if real_mode + image > 0 { kept } else { dropped };
    Reply::answer(answer).with("in_real_mode", real_mode).with("in_image", image)
}

pub(super) fn pending_nmi(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    nmi::block(panel)?;
    let before = cpu.nmi_count.load(Ordering::Acquire);
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let handled = handled_over_restart(panel, before);
    nmi::release();
    Ok(kept_or(handled?, "kept", "dropped"))
}

pub(super) fn nmi_in_wfs(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let before = cpu.nmi_count.load(Ordering::Acquire);
    let mut apic = local_apic()?;
    apic.send_init(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    apic.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    // The restart begins with another INIT; what it does to a pending NMI is `nmi-across-init`'s answer.
    let handled = handled_over_restart(panel, before)?;
    Ok(kept_or(handled, "pend", "drop"))
}
