//! Every interleaving of a waker, the CPU and the clock: exactly one winner, and never a mixed entry.

use crate::world::{DEADLINE, Doing, ENTRY, TIMING, World};
use park_core::lot::{Command, Phase};
use park_core::op::{Operation, Reply, Ring, Step};
use park_core::{Entry, ErrorKind, Mechanism, PhysAddr, Ticks};
use std::collections::HashSet;

const OTHER: Entry = Entry { rip: 0xa000, rsp: 0xb000, cr3: PhysAddr(0xc000), arg: 0xd };

/// Two rings, the second only if the first was revoked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    world: World,
    ring: Ring,
    reply: Reply,
    now: Ticks,
    round: u32,
    over: Option<Result<u32, ErrorKind>>,
}

/// Times that matter: at the start, when a second NMI is due, at the deadline, and when patience is over.
const TIMES: [Ticks; 4] = [0, 100, DEADLINE, DEADLINE + 100];

fn successors(state: &State) -> Vec<State> {
    let mut all = Vec::new();
    let mut cpu = state.clone();
    if cpu.world.cpu_step() {
        all.push(cpu);
    }
    if state.over.is_some() {
        return all;
    }
    if let Some(later) = TIMES.into_iter().find(|time| *time > state.now) {
        all.push(State { now: later, ..state.clone() });
    }
    let mut waker = state.clone();
    let step = waker.ring.next(waker.reply, waker.now);
    match step {
        Step::Done(Ok(_)) => waker.over = Some(Ok(waker.round)),
        Step::Done(Err(error)) if error.kind() == ErrorKind::Revoked && waker.round == 0 => {
            waker.ring = Ring::new(waker.world.bay(), Command::Wake, OTHER, TIMING);
            waker.reply = Reply::Start;
            (waker.round, waker.now) = (1, 0);
        }
        Step::Done(Err(error)) => waker.over = Some(Err(error.kind())),
        _ => waker.reply = waker.world.carry_out(&step).expect("not done"),
    }
    waker.world.sent.clear();
    all.push(waker);
    all
}

/// All states in which nothing moves any more.
fn ends(start: State) -> Vec<State> {
    let (mut seen, mut open, mut ends) = (HashSet::new(), vec![start], Vec::new());
    while let Some(state) = open.pop() {
        if !seen.insert(state.clone()) {
            continue;
        }
        let next = successors(&state);
        if next.is_empty() {
            ends.push(state);
        }
        open.extend(next);
    }
    ends
}

fn start(mechanism: Mechanism, command: Command) -> State {
    let world = World::parked(mechanism);
    let ring = Ring::new(world.bay(), command, ENTRY, TIMING);
    State { world, ring, reply: Reply::Start, now: 0, round: 0, over: None }
}

#[test]
fn a_wake_that_is_revoked_and_rung_again_has_one_winner_and_one_entry() {
    for mechanism in [Mechanism::Hlt, Mechanism::Clgi] {
        let (mut first, mut second, mut neither) = (0, 0, 0);
        for mut end in ends(start(mechanism, Command::Wake)) {
            match (end.over, end.world.cpu) {
                (Some(Ok(0)), Doing::Gone(entry)) => {
                    assert_eq!(entry, ENTRY);
                    first += 1;
                }
                (Some(Ok(1)), Doing::Gone(entry)) => {
                    assert_eq!(entry, OTHER);
                    second += 1;
                }
                (Some(Err(ErrorKind::Revoked)), Doing::Asleep) => {
                    assert_eq!(end.world.doorbell(0).phase(), Some(Phase::Quiet));
                    neither += 1;
                }
                other => panic!("{mechanism}: {other:?}"),
            }
        }
        assert!(first > 0 && second > 0 && neither > 0, "{mechanism}: {first} {second} {neither}");
    }
}

#[test]
fn a_confirm_that_succeeds_was_carried_out_exactly_once() {
    let mut confirmed = 0;
    let mut state = start(Mechanism::Hlt, Command::Confirm);
    state.round = 1;
    for end in ends(state) {
        match end.over {
            Some(Ok(_)) => {
                assert_eq!(end.world.confirmed, 1);
                confirmed += 1;
            }
            Some(Err(ErrorKind::Revoked)) => assert_eq!(end.world.confirmed, 0),
            // It claimed at the last moment: it may finish now or have done so.
            Some(Err(ErrorKind::Uncertain)) => assert_eq!(end.world.confirmed, 1),
            other => panic!("{other:?}"),
        }
    }
    assert!(confirmed > 0);
}
