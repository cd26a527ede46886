//! The TSC's rate, measured against the PIT.

use crate::image::insn;
use crate::image::wait::ClockError;
use crate::platform::clock::TscClock;

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

/// How often it is measured: the middle one counts. A virtual CPU that waits for the host's between two of the steps measures too
/// little or too much: under load a tenth of the rate was seen, and twelve times the rate.
const MEASUREMENTS: usize = 5;

/// Measures the TSC's rate.
pub(crate) fn calibrate() -> Result<TscClock, ClockError> {
    let mut rates = [0; MEASUREMENTS];
    for rate in &mut rates {
        *rate = measure()?;
    }
    rates.sort_unstable();
    Ok(TscClock::new(rates[MEASUREMENTS / 2]))
}

/// Measures once: ticks per second.
fn measure() -> Result<u64, ClockError> {
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
    if ticks_per_second == 0 { Err(ClockError::NoPit) } else { Ok(ticks_per_second) }
}
