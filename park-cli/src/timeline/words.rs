//! States and marks in words, for people who never heard of park.

use park_core::lot::Command;
use park_sim::machine::AccessKind;
use park_sim::recording::{Death, Front, MarkKind, State};

/// What a state is, in a phrase: for the key.
pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::Kernel => "runs the current kernel",
        State::Arriving => "arrives in the lot",
        State::BayCode => "runs park's code in the lot",
        State::LotHlt => "waits in the lot: HLT",
        State::LotMwait => "waits in the lot: MWAIT",
        State::LotClgi => "waits in the lot: interrupts held (CLGI)",
        State::BayFaulted => "stopped in the lot, fault recorded",
        State::Leaving => "leaves the lot",
        State::ForeignCode => "runs code of an old kernel or firmware",
        State::ForeignHlt => "waits in a kernel's memory: HLT",
        State::ForeignMwait => "waits in a kernel's memory: MWAIT",
        State::WaitForSipi => "after INIT: waits for STARTUP",
        State::Handler(_) => "handles an interrupt",
        State::Smm => "in SMM (firmware)",
        State::Astray => "uses memory that is not its own",
        State::Shutdown => "shut down: lost until reset",
        State::Reset => "the machine was reset",
        _ => "does something else",
    }
}

/// What stands in an interval where there is room, longest first.
pub(super) const fn labels(state: State) -> &'static [&'static str] {
    match state {
        State::Kernel => &["runs the kernel", "kernel"],
        State::Arriving => &["arrives"],
        State::BayCode => &["bay code"],
        State::LotHlt => &["HLT in the lot", "HLT"],
        State::LotMwait => &["MWAIT in the lot", "MWAIT"],
        State::LotClgi => &["CLGI in the lot", "CLGI"],
        State::BayFaulted => &["stopped: fault", "fault"],
        State::Leaving => &["leaves"],
        State::ForeignCode => &["old code"],
        State::ForeignHlt => &["HLT in a kernel's memory", "HLT in kernel", "HLT"],
        State::ForeignMwait => &["MWAIT in a kernel's memory", "MWAIT in kernel", "MWAIT"],
        State::WaitForSipi => &["waits for STARTUP", "wait-SIPI"],
        State::Handler(2) => &["NMI handler", "NMI"],
        State::Handler(18) => &["#MC handler", "#MC"],
        State::Handler(_) => &["handler"],
        State::Smm => &["SMM"],
        State::Astray => &["astray"],
        State::Shutdown => &["shut down"],
        State::Reset => &["machine reset", "reset"],
        _ => &[],
    }
}

/// A mark's label on its lane; empty for those that have none.
pub(super) fn label(kind: MarkKind) -> String {
    match kind {
        MarkKind::Nmi => "NMI".to_owned(),
        MarkKind::Smi => "SMI".to_owned(),
        MarkKind::MachineCheck => "#MC".to_owned(),
        MarkKind::Init => "INIT".to_owned(),
        MarkKind::Sipi => "STARTUP".to_owned(),
        MarkKind::Interrupt(vector) => format!("INTR {vector:#x}"),
        MarkKind::Reset => "RESET".to_owned(),
        MarkKind::Store => "store".to_owned(),
        MarkKind::Ring(Command::Wake) => "ring".to_owned(),
        MarkKind::Ring(command) => command_name(command).to_owned(),
        MarkKind::Revoke => "revoke".to_owned(),
        _ => String::new(),
    }
}

const fn command_name(command: Command) -> &'static str {
    match command {
        Command::None => "nothing",
        Command::Wake => "wake",
        Command::Confirm => "confirm",
        Command::Hold => "hold",
        Command::Flush => "flush",
        Command::Repark => "repark",
    }
}

/// A mark in a sentence without its subject.
pub(super) fn mark(kind: MarkKind) -> String {
    match kind {
        MarkKind::Nmi => "a non-maskable interrupt arrives".to_owned(),
        MarkKind::Smi => "a system management interrupt arrives".to_owned(),
        MarkKind::MachineCheck => "a machine check arrives".to_owned(),
        MarkKind::Init => "an INIT arrives".to_owned(),
        MarkKind::Sipi => "a STARTUP arrives".to_owned(),
        MarkKind::Interrupt(vector) => format!("an interrupt arrives, vector {vector:#x}"),
        MarkKind::Reset => "the machine is reset".to_owned(),
        MarkKind::Store => "a store hits the line that the CPU watches".to_owned(),
        MarkKind::Ring(command) => format!("the doorbell is rung: {}", command_name(command)),
        MarkKind::Revoke => "the ring is taken back".to_owned(),
        MarkKind::Claim => "the CPU claims what it was rung for".to_owned(),
        MarkKind::Done => "the CPU has done what it was rung for".to_owned(),
        MarkKind::Parked => "the CPU acknowledges: it is parked".to_owned(),
        MarkKind::Landed => "the CPU has landed in the kernel".to_owned(),
        _ => "something happens".to_owned(),
    }
}

/// Where a CPU dies, in a line.
pub(super) fn death(death: &Death, fronts: &[Front]) -> String {
    let event = death.event.map(label).filter(|label| !label.is_empty());
    let after = event.map_or_else(String::new, |event| format!("{event} → "));
    let is_gone = |phys: u64| fronts.iter().any(|front| front.range.contains(phys) && front.start_tick <= death.tick);
    let Some((kind, phys)) = death.access else { return format!("{after}{}", death.what) };
    let instruction = death.instruction.as_deref().filter(|text| !text.contains("bad"));
    let state = if is_gone(phys) { "overwritten" } else { "not its own" };
    match (kind, instruction) {
        (AccessKind::Fetch, Some(instruction)) => format!("{after}runs `{instruction}` at {phys:#x}: {state}"),
        (AccessKind::Fetch, None) => format!("{after}fetches code at {phys:#x}: {state}"),
        (AccessKind::Walk | AccessKind::WalkWrite, _) => {
            format!("{after}needs its page tables at {phys:#x}: {state}")
        }
        (AccessKind::Descriptor | AccessKind::DescriptorWrite, _) => {
            format!("{after}needs its gate or descriptor at {phys:#x}: {state}")
        }
        (AccessKind::Push, _) => format!("{after}needs its stack at {phys:#x}: {state}"),
        (_, Some(instruction)) => format!("{after}`{instruction}` uses {phys:#x}: {state}"),
        (_, None) => format!("{after}uses {phys:#x}: {state}"),
    }
}
