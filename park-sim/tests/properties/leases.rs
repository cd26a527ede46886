//! Leases never leak: however kernels follow each other, and wherever each dies, the bays add up.

use super::coverage::Coverage;
use super::draw::{self, Thrown};
use super::old_entries::{self, OldEntries};
use super::player::{Player, Stopped};
use core::cell::Cell;
use park_core::lot::{Command, OwnerState, bay};
use park_core::op::{Accept, DeadOwner, HandOver, Publish, Seize, TakeOver, Timing, Wake};
use park_core::{ErrorKind, Mechanism};
use park_sim::world::{KICK_TICKS, OldMemory};
use proptest::collection::vec;
use proptest::prelude::*;

/// Steps after a ring in which its CPU has claimed, or landed, or neither yet.
const WAKING_STEPS: u64 = 200;

/// How one kernel follows another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Handed over and accepted.
    Clean,
    /// Handed over; the successor dies after so many steps of accepting, and the next one seizes.
    DiesAccepting(u64),
    /// The kernel dies; its successor seizes.
    Crash,
    /// The kernel dies after so many steps of handing over.
    DiesHandingOver(u64),
    /// The kernel dies; its successor dies after so many steps of seizing, and the next one seizes.
    DiesSeizing(u64),
    /// The kernel dies after so many steps of ringing a CPU.
    DiesRinging(u64),
    /// The kernel rings a CPU to wake it, and dies after so many steps of the others.
    DiesWaking(u64),
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        Just(Next::Clean),
        Just(Next::Crash),
        (0u64..30).prop_map(Next::DiesAccepting),
        (0u64..12).prop_map(Next::DiesHandingOver),
        (0u64..30).prop_map(Next::DiesSeizing),
        (0u64..12).prop_map(Next::DiesRinging),
        (0u64..WAKING_STEPS).prop_map(Next::DiesWaking),
    ]
}

fn failed(error: impl ToString) -> Stopped {
    Stopped::Wrong(error.to_string())
}

fn play(
    drawn: &draw::Drawn,
    wanted: &[Mechanism],
    chain: &[Next],
    script: &[(u64, Thrown)],
    tally: &OldEntries,
) -> Result<(), Stopped> {
    let mut coverage = Coverage::default();
    let mut player = Player::boot(drawn, &mut coverage)?;
    let travellers: Vec<usize> = (0..drawn.cpus).filter(|cpu| *cpu != player.boss).collect();
    for (number, cpu) in travellers.iter().enumerate() {
        player.park(*cpu, wanted[number % wanted.len()])?;
    }
    // Events that leave a CPU where it is; INIT has its own property.
    let harmless: Vec<_> = script.iter().copied().filter(|(_, thrown)| *thrown != Thrown::Init).collect();
    let mut quarantined = 0;
    for (number, next) in chain.iter().enumerate() {
        let target = travellers[number % travellers.len()];
        player.expect(target, &harmless);
        quarantined += usize::from(follow(&mut player, *next, target, tally)?);
        check_bays(&player, drawn.cpus, quarantined)?;
    }
    player.settle()?;
    for cpu in travellers {
        wake(&mut player, cpu)?;
    }
    let reserved = owners(&player, drawn.cpus).filter(|owner| *owner != Some(OwnerState::Free)).count();
    let lost = player.known.iter().filter(|known| known.bay.is_some()).count();
    if reserved != lost + quarantined {
        return Err(Stopped::Wrong(format!("{reserved} bays are not free, and {lost} CPUs did not come back")));
    }
    Ok(())
}

/// From one kernel to the next; true if a bay was quarantined.
fn follow(player: &mut Player<'_>, next: Next, target: usize, tally: &OldEntries) -> Result<bool, Stopped> {
    let boss = player.boss;
    let lease = player.world.lot().map_err(failed)?.lease;
    let mut orphan = None;
    match next {
        Next::DiesWaking(steps) => orphan = old_entries::ring(player, target, steps)?,
        Next::Clean | Next::DiesAccepting(_) => {
            player.drive(HandOver::new(&lease))?.map_err(failed)?;
        }
        Next::DiesHandingOver(steps) => {
            player.drive_on(boss, HandOver::new(&lease), steps)?.transpose().map_err(failed)?;
        }
        Next::DiesRinging(steps) => {
            if let Some(bay) = player.known[target].bay.filter(|_| player.can_be_rung(target)) {
                // Confirm: a CPU that takes a dead kernel's entry is another property's matter.
                let entry = player.with(|world| world.entry(target))?;
                player
                    .drive_on(boss, Publish::new(bay, Command::Confirm, entry), steps)?
                    .transpose()
                    .map_err(failed)?;
            }
        }
        Next::Crash | Next::DiesSeizing(_) => {}
    }
    player.leave_smm()?;
    // A kernel that expects late-comers leaves the memory of the dead one alone, as a crash kernel does.
    let old = if orphan.is_some() { OldMemory::Kept } else { OldMemory::Overwritten };
    player.with(|world| world.kexec(boss, old))?;
    player.known.iter_mut().for_each(|known| known.fetched = 0);
    let lot = player.with(|world| world.verify(boss))?;
    let taken = match next {
        Next::Clean => player.drive(Accept::new(&lot))?.map_err(failed)?,
        Next::DiesAccepting(steps) => match player.drive_on(boss, Accept::new(&lot), steps)? {
            Some(taken) => taken.map_err(failed)?,
            None => seize(player)?,
        },
        Next::DiesSeizing(steps) => match player.drive_on(boss, Seize::new(&lot, DeadOwner::declared()), steps)? {
            Some(taken) => taken.map_err(failed)?,
            None => seize(player)?,
        },
        Next::Crash | Next::DiesHandingOver(_) | Next::DiesRinging(_) | Next::DiesWaking(_) => {
            player.drive(Seize::new(&lot, DeadOwner::declared()))?.map_err(failed)?
        }
    };
    if let Some(lot) = &mut player.world.lot {
        lot.lease = taken.lease;
    }
    for known in &mut player.known {
        if let Some(bay) = known.bay {
            known.bay = Some(taken.lease.bay(bay.index()).map_err(failed)?);
        }
    }
    match orphan {
        Some(orphan) => old_entries::settle(player, &orphan, &taken, tally),
        None if taken.took_old_entry != 0 => Err(failed(format!("nobody was woken: {taken:?}"))),
        None => Ok(false),
    }
}

/// The successor of one that died while it took the lot over.
fn seize(player: &mut Player<'_>) -> Result<TakeOver, Stopped> {
    let boss = player.boss;
    player.leave_smm()?;
    player.with(|world| world.kexec(boss, OldMemory::Overwritten))?;
    let lot = player.with(|world| world.verify(boss))?;
    player.drive(Seize::new(&lot, DeadOwner::declared()))?.map_err(failed)
}

/// The owner states of all bays.
fn owners<'a>(player: &'a Player<'_>, bays: usize) -> impl Iterator<Item = Option<OwnerState>> + 'a {
    let lot = player.world.lot.expect("there is a lot");
    (0..bays as u64).map(move |index| {
        let header = lot.lot.header();
        let phys = lot.range.start + header.bay_offset + index * header.bay_stride + bay::OWNER;
        OwnerState::from_raw(player.world.machine.read_phys_u64(phys) as u8)
    })
}

/// As many bays are reserved as CPUs are parked; all others are free, but those that were quarantined.
fn check_bays(player: &Player<'_>, bays: usize, quarantined: usize) -> Result<(), Stopped> {
    let parked = player.known.iter().filter(|known| known.bay.is_some()).count();
    let count = |state| owners(player, bays).filter(|owner| *owner == Some(state)).count();
    let (reserved, free) = (count(OwnerState::Reserved), count(OwnerState::Free));
    if (reserved, free) == (parked, bays - parked - quarantined) && count(OwnerState::Quarantined) == quarantined {
        return Ok(());
    }
    Err(Stopped::Wrong(format!("{parked} CPUs are parked; of {bays} bays {reserved} are reserved, {free} free")))
}

fn wake(player: &mut Player<'_>, cpu: usize) -> Result<(), Stopped> {
    let Some(bay) = player.known[cpu].bay else { return Ok(()) };
    let gone = player.known[cpu].doomed;
    let entry = player.with(|world| world.entry(cpu))?;
    let deadline = player.world.machine.tsc() + 64 * KICK_TICKS;
    match player.drive(Wake::new(bay, entry, Timing { kick_interval_ticks: KICK_TICKS, deadline }))? {
        Ok(_) => {}
        Err(error) if gone && error.kind() != ErrorKind::StaleGeneration => return Ok(()),
        Err(error) => return Err(Stopped::Wrong(format!("CPU {cpu} does not wake: {error}"))),
    }
    let entries = player.await_landing(cpu)?;
    if entries != 1 {
        return if gone { Ok(()) } else { Err(Stopped::Wrong(format!("CPU {cpu} landed {entries} times"))) };
    }
    player.with(|world| world.leave(cpu, bay))?;
    player.known[cpu].bay = None;
    Ok(())
}

#[test]
fn leases_never_leak() {
    let strategy = (draw::small_machine(2), vec(draw::mechanism(), 1..4), vec(next(), 1..6), draw::script(40, 3));
    let (over, tally) = (Cell::new(0), OldEntries::default());
    super::check("leases", 3, &strategy, |(drawn, wanted, chain, script)| {
        match play(drawn, wanted, chain, script, &tally) {
            Ok(()) => Ok(()),
            Err(Stopped::Over) => {
                over.set(over.get() + 1);
                Ok(())
            }
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    });
    println!("{} plays ended in a reset, as declared; of the wakes of dead owners: {tally:?}", over.get());
    for reached in [&tally.taken, &tally.revoked] {
        assert!(reached.get() > 0, "{tally:?}");
    }
}
