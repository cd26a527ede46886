//! Every ring is carried out exactly once, or revoked in time, or reported lost: with deadlines that pass at any moment,
//! under any events.

use super::coverage::Coverage;
use super::draw::{self, Thrown};
use super::player::{Player, Stopped};
use core::cell::{Cell, RefCell};
use park_core::lot::{Command, Doorbell, Phase, Stage, bay};
use park_core::op::{Bay, Confirm, Flush, Hold, Publish, Release, Revoke, Timing, Wake};
use park_core::{ErrorKind, IpiSender, Mechanism};
use park_sim::world::KICK_TICKS;
use proptest::collection::vec;
use proptest::prelude::*;

/// One ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Wake,
    Confirm,
    Flush,
    Hold,
    /// Published, kicked, and taken back after so many steps.
    Revoke(u64),
}

#[derive(Clone, Debug)]
struct Rung {
    kind: Kind,
    /// Ticks until the deadline.
    patience: u64,
    script: Vec<(u64, Thrown)>,
}

fn rung() -> impl Strategy<Value = Rung> {
    let kind = prop_oneof![
        3 => Just(Kind::Wake),
        2 => Just(Kind::Confirm),
        1 => Just(Kind::Flush),
        2 => Just(Kind::Hold),
        4 => (0u64..120).prop_map(Kind::Revoke),
    ];
    // From "at once" to more than any schedule needs.
    let patience = prop_oneof![0u64..400, 0u64..40_000, Just(64 * KICK_TICKS)];
    (kind, patience, draw::script(60, 3)).prop_map(|(kind, patience, script)| Rung { kind, patience, script })
}

/// What became of rings.
#[derive(Default, Debug)]
struct Tally {
    carried_out: Cell<u64>,
    revoked: Cell<u64>,
    lost: Cell<u64>,
    over: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

fn play(drawn: &draw::Drawn, wanted: Mechanism, rings: &[Rung], tally: &Tally) -> Result<(), Stopped> {
    let mut coverage = Coverage::default();
    let mut player = Player::boot(drawn, &mut coverage)?;
    let cpu = (player.boss + 1) % drawn.cpus;
    let bay = player.park(cpu, wanted)?;
    player.settle()?;
    for ring in rings {
        player.expect(cpu, &ring.script);
        let left = play_ring(&mut player, cpu, bay, ring, tally)?;
        if left || player.known[cpu].init || player.known[cpu].doomed {
            return Ok(());
        }
        player.check_parked(cpu)?;
    }
    Ok(())
}

/// Plays one ring; true if the CPU has left.
fn play_ring(player: &mut Player<'_>, cpu: usize, bay: Bay, ring: &Rung, tally: &Tally) -> Result<bool, Stopped> {
    let deadline = player.world.machine.tsc() + ring.patience;
    let timing = Timing { kick_interval_ticks: KICK_TICKS, deadline };
    let generous = player.world.timing().deadline;
    let wrong = |error: park_core::Error| Stopped::Wrong(format!("{:?}: {error}", ring.kind));
    let came = match ring.kind {
        Kind::Wake => {
            let entry = player.with(|world| world.entry(cpu))?;
            let ended = player.drive(Wake::new(bay, entry, timing))?;
            return left(player, cpu, bay, ended.map(|_| ()), tally);
        }
        Kind::Revoke(after) => {
            let entry = player.with(|world| world.entry(cpu))?;
            let ticket = player.drive(Publish::new(bay, Command::Wake, entry))?.map_err(wrong)?;
            let boss = player.boss;
            let mut platform = player.world.on(boss).map_err(|error| error.to_string())?;
            platform.send_nmi(ticket.apic_id()).map_err(|error| error.to_string())?;
            player.others(after)?;
            let ended = match player.drive(Revoke::new(ticket))? {
                Ok(()) => Err(park_core::Error::new(ErrorKind::Revoked, "revoked")),
                Err(error) if error.kind() == ErrorKind::TooLate => Ok(()),
                Err(error) => return Err(wrong(error)),
            };
            return left(player, cpu, bay, ended, tally);
        }
        Kind::Confirm => player.drive(Confirm::new(bay, timing))?.map(|_| ()),
        Kind::Flush => player.drive(Flush::new(bay, timing))?.map(|_| ()),
        Kind::Hold => match player.drive(Hold::new(bay, timing))? {
            Ok(held) => {
                player.settle()?;
                if phase(player, cpu) != Some(Phase::Claimed) && !player.known[cpu].init && !player.known[cpu].doomed {
                    return Err(Stopped::Wrong("a held CPU did not wait for its release".to_owned()));
                }
                player.drive(Release::new(held, generous))?
            }
            Err(error) => Err(error),
        },
    };
    player.settle()?;
    let gone = player.known[cpu].init || player.known[cpu].doomed;
    match came {
        Ok(()) => count(&tally.carried_out),
        Err(error) if error.kind() == ErrorKind::Revoked => count(&tally.revoked),
        // It claimed, and the deadline came before it was done; or it was taken while it held the command.
        Err(error) if error.kind() == ErrorKind::Uncertain => count(&tally.lost),
        Err(error) => return Err(wrong(error)),
    }
    if phase(player, cpu) != Some(Phase::Quiet) && !gone {
        return Err(Stopped::Wrong(format!("after {:?} the doorbell does not come to rest", ring.kind)));
    }
    Ok(false)
}

fn phase(player: &Player<'_>, cpu: usize) -> Option<Phase> {
    Doorbell(player.word(cpu, bay::DOORBELL)?).phase()
}

/// Whether a CPU that was rung to leave did what its ticket's end says; true if it left.
fn left(
    player: &mut Player<'_>,
    cpu: usize,
    bay: Bay,
    ended: Result<(), park_core::Error>,
    tally: &Tally,
) -> Result<bool, Stopped> {
    if ended.is_ok() {
        player.await_landing(cpu)?;
    }
    player.settle()?;
    let entries = player.world.kernel.witness(&player.world.machine, cpu).entries;
    let gone = player.known[cpu].init || player.known[cpu].doomed;
    match ended {
        Ok(()) if entries == 1 => {
            count(&tally.carried_out);
            if !gone {
                player.with(|world| world.leave(cpu, bay))?;
            }
            Ok(true)
        }
        Ok(()) if entries == 0 && gone => {
            count(&tally.lost);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::Revoked && entries == 0 => {
            count(&tally.revoked);
            if player.stage(cpu) != Some(Stage::Waiting) && !gone {
                return Err(Stopped::Wrong("a CPU whose ticket was revoked is not in its wait".to_owned()));
            }
            Ok(false)
        }
        ended => Err(Stopped::Wrong(format!("the ring ended with {ended:?}, and the CPU landed {entries} times"))),
    }
}

#[test]
fn every_ring_is_carried_out_once_or_revoked_or_lost() {
    let strategy = (draw::small_machine(2), draw::mechanism(), vec(rung(), 1..8));
    let tally = RefCell::new(Tally::default());
    super::check("rings", 2, &strategy, |(drawn, wanted, rings)| {
        let tally = tally.borrow();
        match play(drawn, *wanted, rings, &tally) {
            Ok(()) => Ok(()),
            Err(Stopped::Over) => {
                count(&tally.over);
                Ok(())
            }
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    });
    println!("{:?}", tally.borrow());
    let tally = tally.borrow();
    for reached in [&tally.carried_out, &tally.revoked, &tally.lost, &tally.over] {
        assert!(reached.get() > 0, "{tally:?}");
    }
}
