//! Questions about CPUs that have shut down.

use core::sync::atomic::Ordering;

use park_core::IpiSender;

use super::panel::{Panel, QUIET_US, Reply};
use crate::cpu_tables::IDT_ENTRIES;
use crate::image::area::Area;
use crate::image::failure::Failure;
use crate::image::insn;
use crate::platform::apic::local_apic;

/// The NMI's vector, the only one whose gate is left.
const NMI_VECTOR: usize = 2;
/// Bytes of a gate.
const GATE_BYTES: u16 = 16;
/// The IDT's limit, so that it ends with the NMI's gate.
const IDT_LIMIT: u16 = (NMI_VECTOR as u16 + 1) * GATE_BYTES - 1;
const _: () = assert!(NMI_VECTOR < IDT_ENTRIES);

/// Triple fault: of the CPU's own IDT only the gates up to the NMI's are left, and #UD, #GP and #DF lie behind.
extern "C" fn shut_down(_argument: u64) {
    // SAFETY: the IDT is the CPU's own and lives for ever; the CPU is fetched by INIT, or lost, as the question says.
    unsafe { insn::shut_down(IDT_LIMIT, Area::current().idt().0) }
}

pub(super) fn resets(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    panel.asked()?.give(shut_down, 0)?;
    // Whoever reads on has not been reset.
    panel.pass_us(5 * QUIET_US);
    panel.recover()?;
    Ok(Reply::answer("no"))
}

pub(super) fn nmi(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let before = cpu.nmi_count.load(Ordering::Acquire);
    cpu.give(shut_down, 0)?;
    panel.pass_us(QUIET_US);
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let handled = cpu.nmi_count.load(Ordering::Acquire) - before;
    panel.recover()?;
    Ok(Reply::answer(if handled > 0 { "ends" } else { "ignored" }).with("handled", handled))
}
