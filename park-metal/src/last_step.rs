//! The last step, kept where a reset leaves it: a machine that dies says at its next start where.
//!
//! A record is 16 bytes, with a checksum; there are two slots, written in turn, so that a machine that dies while it writes
//! leaves the one before. Where the slots lie is the image's affair (`image/keep.rs`).
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | "PK" |
//! | 2 | 1 | [`Step`] |
//! | 3 | 1 | CPU, 255 for none |
//! | 4 | 4 | number: a generation of `soak`, a question of `silicon` |
//! | 8 | 4 | sequence: one more for each record |
//! | 12 | 4 | checksum of the 12 bytes before |

/// Bytes of a record.
pub const RECORD_BYTES: usize = 16;
/// Slots that are written in turn.
pub const SLOTS: usize = 2;

const MAGIC: [u8; 2] = *b"PK";
const CHECKED_BYTES: usize = 12;
/// In the CPU's byte: a step of no CPU in particular.
const NO_CPU: u8 = 0xff;
/// 32-bit FNV-1a (draft-eastlake-fnv, offset basis and prime): every change of one byte changes it.
const FNV_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// Where the last step is kept across a reset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Keep {
    /// In memory. Firmware that clears memory, and a power cycle, lose it.
    Ram,
    /// In bytes 60h to 7Fh of the CMOS RAM. They outlive power; some firmware keeps settings there.
    Cmos,
}

impl Keep {
    /// The place with this name on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ram" => Some(Self::Ram),
            "cmos" => Some(Self::Cmos),
            _ => None,
        }
    }
}

/// What was under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Step {
    /// The test ran to its end: nothing was.
    Done = 0,
    /// `soak` parked the CPUs.
    Park = 1,
    /// `soak` fired events at them.
    Events = 2,
    /// `soak` passed the lot on.
    Adopt = 3,
    /// `soak` confirmed them.
    Confirm = 4,
    /// `soak` woke one.
    Wake = 5,
    /// `soak` checked what woke.
    Check = 6,
    /// `silicon` asked a question.
    Ask = 7,
    /// `soak` let the CPUs be, parked.
    Rest = 8,
}

impl Step {
    /// All of them, by their numbers.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Park,
        Self::Events,
        Self::Adopt,
        Self::Confirm,
        Self::Wake,
        Self::Check,
        Self::Ask,
        Self::Rest,
    ];

    /// The name in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Park => "park",
            Self::Events => "events",
            Self::Adopt => "adopt",
            Self::Confirm => "confirm",
            Self::Wake => "wake",
            Self::Check => "check",
            Self::Ask => "ask",
            Self::Rest => "rest",
        }
    }
}

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LastStep {
    /// What was under way.
    pub step: Step,
    /// At which CPU, if at one.
    pub cpu: Option<u8>,
    /// In which generation, or which question.
    pub number: u32,
    /// How many records came before.
    pub sequence: u32,
}

impl LastStep {
    /// The record as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = self.step as u8;
        bytes[3] = self.cpu.unwrap_or(NO_CPU);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        let sum = checksum(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The record in `bytes`; `None` if they hold none, or half of one.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let word =
            |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word));
        let checked = bytes.get(..CHECKED_BYTES)?;
        if checked.get(..2)? != MAGIC || word(CHECKED_BYTES)? != checksum(checked) {
            return None;
        }
        let step = Step::ALL.into_iter().find(|step| *step as u8 == bytes[2])?;
        Some(Self { step, cpu: (bytes[3] != NO_CPU).then_some(bytes[3]), number: word(4)?, sequence: word(8)? })
    }

    /// The newer of what the slots hold. Sequences may have wrapped.
    #[must_use]
    pub fn newest(slots: &[[u8; RECORD_BYTES]; SLOTS]) -> Option<Self> {
        let newer =
            |one: Self, other: Self| if (other.sequence.wrapping_sub(one.sequence) as i32) > 0 { other } else { one };
        slots.iter().filter_map(Self::decode).reduce(newer)
    }

    /// The slot that this record belongs in.
    #[must_use]
    pub const fn slot(&self) -> usize {
        self.sequence as usize % SLOTS
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_BASIS, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAKE: LastStep = LastStep { step: Step::Wake, cpu: Some(3), number: 0x0102_0304, sequence: 8 };

    #[test]
    fn records_come_back_as_they_went() {
        for step in Step::ALL {
            for cpu in [None, Some(0), Some(63)] {
                let record = LastStep { step, cpu, ..WAKE };
                assert_eq!(LastStep::decode(&record.encode()), Some(record));
            }
        }
        assert_eq!(WAKE.encode()[..12], *b"PK\x05\x03\x04\x03\x02\x01\x08\0\0\0");
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        for at in 0..RECORD_BYTES {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = WAKE.encode();
                bytes[at] ^= flip;
                assert_eq!(LastStep::decode(&bytes), None, "byte {at}");
            }
        }
        // What fresh memory holds.
        assert_eq!(LastStep::decode(&[0; RECORD_BYTES]), None);
        assert_eq!(LastStep::decode(&[0xff; RECORD_BYTES]), None);
    }

    #[test]
    fn a_step_that_does_not_exist_is_no_record() {
        let mut bytes = WAKE.encode();
        bytes[2] = Step::ALL.len() as u8;
        let sum = checksum(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(LastStep::decode(&bytes), None);
    }

    #[test]
    fn the_newer_of_two_slots_counts_and_a_torn_one_does_not() {
        let next = LastStep { step: Step::Check, sequence: 9, ..WAKE };
        assert_ne!(WAKE.slot(), next.slot());
        assert_eq!(LastStep::newest(&[WAKE.encode(), next.encode()]), Some(next));
        assert_eq!(LastStep::newest(&[next.encode(), WAKE.encode()]), Some(next));
        let mut torn = next.encode();
        torn[5] ^= 4;
        assert_eq!(LastStep::newest(&[WAKE.encode(), torn]), Some(WAKE));
        assert_eq!(LastStep::newest(&[torn, torn]), None);
        let (last, first) = (LastStep { sequence: u32::MAX, ..WAKE }, LastStep { sequence: 0, ..WAKE });
        assert_eq!(LastStep::newest(&[first.encode(), last.encode()]), Some(first));
    }
}
