//! An owner dies while it wakes a CPU: the ticket is revoked and the CPU stays, or the CPU had claimed before, and
//! comes into the dead kernel. The seize says which; the next kernel fetches the CPU, frees its bay, and parks it again.

use super::player::{Player, Stopped};
use core::cell::Cell;
use park_core::lot::Command;
use park_core::op::{Publish, Quarantine, TakeOver};
use park_core::{IpiSender, Mechanism};
use park_sim::world::Kernel;

/// Steps in which a CPU that has claimed lands in the dead kernel, whatever SMM takes meanwhile.
const LANDING_STEPS: u64 = 50_000;

/// A wake that its owner did not live to see.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    cpu: usize,
    /// The dead kernel, whose memory is left alone: a CPU may still come.
    kernel: Kernel,
    /// How often the CPU had landed in it before.
    landed: u64,
}

/// What became of orphans.
#[derive(Default, Debug)]
pub(crate) struct OldEntries {
    /// Claimed before the seize, and fetched from the dead kernel.
    pub(crate) taken: Cell<u64>,
    /// Claimed before the seize, and shut down as declared: the bay is quarantined.
    pub(crate) quarantined: Cell<u64>,
    /// Taken back by the seize.
    pub(crate) revoked: Cell<u64>,
}

/// Rings `cpu` to wake it, and lets others run for so many steps. `None` if it does not wait, or is the bootstrap
/// processor, which no INIT could fetch afterwards.
pub(crate) fn ring(player: &mut Player<'_>, cpu: usize, steps: u64) -> Result<Option<Orphan>, Stopped> {
    let known = player.known[cpu];
    let Some(bay) = known.bay else { return Ok(None) };
    if cpu == player.bsp || known.doomed || !player.can_be_rung(cpu) {
        return Ok(None);
    }
    let entry = player.with(|world| world.entry(cpu))?;
    let ticket = player.drive(Publish::new(bay, Command::Wake, entry))?.map_err(failed)?;
    let boss = player.boss;
    player.with(|world| Ok(world.on(boss)?.send_nmi(ticket.apic_id()).map_err(park_core::Error::from)?))?;
    player.others(steps)?;
    Ok(Some(Orphan { cpu, kernel: player.world.kernel.clone(), landed: player.known[cpu].fetched }))
}

/// Checks that the seize told the truth of an orphan; fetches its CPU if it took the old entry. The bays in `known` are
/// the new lease's by now. Returns true if a bay was quarantined.
pub(crate) fn settle(
    player: &mut Player<'_>,
    orphan: &Orphan,
    taken: &TakeOver,
    tally: &OldEntries,
) -> Result<bool, Stopped> {
    let cpu = orphan.cpu;
    player.script.clear();
    let count = |cell: &Cell<u64>| cell.set(cell.get() + 1);
    let entries = |player: &Player<'_>| orphan.kernel.witness(&player.world.machine, cpu).entries - orphan.landed;
    let Some(bay) = player.known[cpu].bay else { return Err(failed("an orphan without a bay")) };
    if taken.took_old_entry == 0 {
        player.settle()?;
        count(&tally.revoked);
        // A ticket is revoked, or its CPU has finished: a wake has no end without its CPU.
        return match (taken.revoked, entries(player)) {
            (1, 0) => Ok(false),
            other => Err(failed(format!("no old entry taken; {other:?} tickets revoked and landings of CPU {cpu}"))),
        };
    }
    if (taken.took_old_entry, taken.first_took_old_entry) != (1, Some(bay.index())) || taken.revoked != 0 {
        return Err(failed(format!("only CPU {cpu} was rung: {taken:?}")));
    }
    for _ in 0..LANDING_STEPS {
        if entries(player) != 0 || player.known[cpu].doomed || player.others(1)? == 0 {
            break;
        }
    }
    player.settle()?;
    match entries(player) {
        1 => {}
        0 if player.known[cpu].doomed => {
            count(&tally.quarantined);
            player.drive(Quarantine::new(bay))?.map_err(failed)?;
            player.known[cpu].bay = None;
            return Ok(true);
        }
        entries => return Err(failed(format!("CPU {cpu} had claimed, and landed {entries} times in the dead kernel"))),
    }
    let boss = player.boss;
    player.leave_smm()?;
    if !player.with(|world| world.init_sipi_sipi(boss, cpu))? {
        return Err(failed(format!("CPU {cpu} can't be fetched from the dead kernel")));
    }
    player.with(|world| world.leave(cpu, bay))?;
    player.known[cpu].fetched += 1;
    count(&tally.taken);
    // It would die with this kernel otherwise.
    let mechanism = player.known[cpu].mechanism.unwrap_or(Mechanism::Hlt);
    player.park(cpu, mechanism)?;
    Ok(false)
}

fn failed(error: impl ToString) -> Stopped {
    Stopped::Wrong(error.to_string())
}
