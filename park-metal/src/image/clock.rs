//! Time: the TSC, its rate measured against the PIT.

use core::fmt;

use park_core::{Clock, Ticks};

use crate::image::insn;

/// The PIT counts at this rate (Intel 8254; 14.31818 MHz / 12).
const PIT_HZ: u64 = 1_193_182;
/// How long is measured: 20 ms, so that the port accesses at both ends (some µs each) weigh under 0.1 %.
const MEASURED_PIT_TICKS: u16 = 23_864;
/// PIT channel 2's data port.
const PIT_CHANNEL_2: u16 = 0x42;
/// PIT mode port.
const PIT_MODE: u16 = 0x43;
/// Channel 2, low byte then high byte, mode 0 (output goes high at the end of the count), binary.
const PIT_CHANNEL_2_ONE_SHOT: u8 = 0xb0;
/// System control port B: bit 0 gates channel 2, bit 1 is the speaker, bit 5 reads channel 2's output.
const SYSTEM_CONTROL_B: u16 = 0x61;
const GATE: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const OUTPUT: u8 = 1 << 5;
/// TSC ticks after which the PIT is given up: a second of the fastest CPU.
const CALIBRATION_LIMIT_TICKS: u64 = 8_000_000_000;

/// The time stamp counter at a measured rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TscClock {
    ticks_per_second: u64,
}

/// Why there is no clock, or why a wait ended without what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClockError {
    /// PIT channel 2 did not count, or the TSC did not.
    NoPit,
    /// It took longer than the limit.
    TimedOut {
        /// What was waited for.
        what: &'static str,
    },
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPit => f.write_str("PIT channel 2 does not count, so the TSC's rate is unknown"),
            Self::TimedOut { what } => write!(f, "waited in vain for {what}"),
        }
    }
}

impl core::error::Error for ClockError {}

impl TscClock {
    /// Measures the TSC's rate.
    pub(crate) fn calibrate() -> Result<Self, ClockError> {
        let control = insn::in_u8(SYSTEM_CONTROL_B) & !(SPEAKER | GATE);
        insn::out_u8(SYSTEM_CONTROL_B, control);
        insn::out_u8(PIT_MODE, PIT_CHANNEL_2_ONE_SHOT);
        let [low, high] = MEASURED_PIT_TICKS.to_le_bytes();
        insn::out_u8(PIT_CHANNEL_2, low);
        insn::out_u8(PIT_CHANNEL_2, high);
        // The count starts with the gate, not with the write of the count.
        insn::out_u8(SYSTEM_CONTROL_B, control | GATE);
        let start = insn::read_tsc();
        let passed = loop {
            let passed = insn::read_tsc().wrapping_sub(start);
            if insn::in_u8(SYSTEM_CONTROL_B) & OUTPUT != 0 {
                break passed;
            }
            if passed > CALIBRATION_LIMIT_TICKS {
                return Err(ClockError::NoPit);
            }
        };
        insn::out_u8(SYSTEM_CONTROL_B, control);
        let ticks_per_second = passed.saturating_mul(PIT_HZ) / u64::from(MEASURED_PIT_TICKS);
        if ticks_per_second == 0 { Err(ClockError::NoPit) } else { Ok(Self { ticks_per_second }) }
    }

    /// `duration_us` microseconds in ticks.
    pub(crate) const fn ticks_of_us(&self, duration_us: u64) -> Ticks {
        duration_us.saturating_mul(self.ticks_per_second) / 1_000_000
    }

    /// Waits, spinning, until `done` says so.
    pub(crate) fn wait(
        mut self,
        timeout_us: u64,
        what: &'static str,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), ClockError> {
        let start = self.now();
        let timeout = self.ticks_of_us(timeout_us);
        while !done() {
            if self.now().wrapping_sub(start) > timeout {
                return Err(ClockError::TimedOut { what });
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Lets `duration_us` microseconds pass.
    pub(crate) fn pass_us(mut self, duration_us: u64) {
        let start = self.now();
        let duration = self.ticks_of_us(duration_us);
        while self.now().wrapping_sub(start) < duration {
            core::hint::spin_loop();
        }
    }
}

impl Clock for TscClock {
    fn now(&mut self) -> Ticks {
        insn::read_tsc()
    }

    fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }
}
