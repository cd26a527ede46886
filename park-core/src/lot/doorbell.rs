//! The doorbell: one 64-bit word that a parked CPU watches, changed by compare-and-swap only.

use crate::{Generation, Sequence};

/// What a ring asks the parked CPU to do. The numbers are part of the lot ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Command {
    /// Nothing: the doorbell was never rung.
    None = 0,
    /// Leave through the [`Entry`](crate::Entry) in the doorbell line.
    Wake = 1,
    /// Do nothing, and say so: proof of life.
    Confirm = 2,
    /// Spin with PAUSE, acknowledged, until the release word holds this ticket's sequence.
    Hold = 3,
    /// Write back and invalidate all caches (WBINVD).
    Flush = 4,
    /// Move to a bay of another lot, whose address is in the entry's `arg`.
    Repark = 5,
}

impl Command {
    /// All commands that can be rung.
    pub const ALL: [Self; 5] = [Self::Wake, Self::Confirm, Self::Hold, Self::Flush, Self::Repark];

    /// The command with this number, or `None` for one that this version does not know.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::None),
            1 => Some(Self::Wake),
            2 => Some(Self::Confirm),
            3 => Some(Self::Hold),
            4 => Some(Self::Flush),
            5 => Some(Self::Repark),
            _ => None,
        }
    }

    /// The number in the doorbell.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self as u8
    }

    /// True if the CPU leaves the bay by this command.
    #[must_use]
    pub const fn leaves(self) -> bool {
        matches!(self, Self::Wake | Self::Repark)
    }
}

/// Whose move it is. The numbers are part of the lot ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Nothing in flight: the last command was done, or revoked. The lease holder may publish.
    Quiet = 0,
    /// Published. The CPU may claim, the lease holder may revoke: whoever swaps first wins.
    Rung = 1,
    /// Claimed by the CPU, which will set `Quiet`, or leave.
    Claimed = 2,
}

impl Phase {
    /// The phase with this number.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Quiet),
            1 => Some(Self::Rung),
            2 => Some(Self::Claimed),
            _ => None,
        }
    }
}

/// The doorbell word: command in bits 7:0, phase in 15:8, generation in 39:16, sequence in 63:40.
///
/// Generation and sequence make every value unique for the length of 16 million tickets, so that a
/// compare-and-swap that succeeds has compared *this* ticket (no ABA).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Doorbell(pub u64);

impl Doorbell {
    /// First bit of the phase.
    pub const PHASE_SHIFT: u32 = 8;
    /// First bit of the generation.
    pub const GENERATION_SHIFT: u32 = 16;
    /// First bit of the sequence.
    pub const SEQUENCE_SHIFT: u32 = 40;

    /// Composes a doorbell word.
    #[must_use]
    pub const fn new(command: Command, phase: Phase, generation: Generation, sequence: Sequence) -> Self {
        Self(
            command as u64
                | (phase as u64) << Self::PHASE_SHIFT
                | (generation.raw() as u64) << Self::GENERATION_SHIFT
                | (sequence.raw() as u64) << Self::SEQUENCE_SHIFT,
        )
    }

    /// The command, or `None` if a newer version rang.
    #[must_use]
    pub const fn command(self) -> Option<Command> {
        Command::from_raw(self.0 as u8)
    }

    /// The phase, or `None` if the word is damaged.
    #[must_use]
    pub const fn phase(self) -> Option<Phase> {
        Phase::from_raw((self.0 >> Self::PHASE_SHIFT) as u8)
    }

    /// The generation of the lease holder that wrote the word last.
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation::from_raw((self.0 >> Self::GENERATION_SHIFT) as u32)
    }

    /// The sequence of the ticket.
    #[must_use]
    pub const fn sequence(self) -> Sequence {
        Sequence::from_raw((self.0 >> Self::SEQUENCE_SHIFT) as u32)
    }

    /// The same ticket in another phase.
    #[must_use]
    pub const fn with_phase(self, phase: Phase) -> Self {
        Self(self.0 & !(0xff << Self::PHASE_SHIFT) | (phase as u64) << Self::PHASE_SHIFT)
    }

    /// The same ticket, stamped with another generation.
    #[must_use]
    pub const fn with_generation(self, generation: Generation) -> Self {
        let mask = (Generation::MAX as u64) << Self::GENERATION_SHIFT;
        Self(self.0 & !mask | (generation.raw() as u64) << Self::GENERATION_SHIFT)
    }
}
