//! What hovering and focus tell.

use super::words;
use core::fmt::Write;
use park_sim::recording::{Death, Front, Interval, Mark, Registers};

/// Registers in a line.
const COLUMNS: usize = 2;
/// Bits above which a register is written with all its digits.
const SMALL_MAX: u64 = 0xffff;

/// An interval and the registers when it began.
pub(super) fn interval(cpu: usize, interval: &Interval) -> String {
    let last = interval.end_tick.saturating_sub(1);
    let state = words::state(interval.state);
    let vector = match interval.state {
        park_sim::recording::State::Handler(vector) => format!(", vector {vector}"),
        _ => String::new(),
    };
    let head = format!("CPU {cpu}: {state}{vector}\nticks {} to {last}; registers when it began:", interval.start_tick);
    head + &registers(&interval.registers)
}

/// A mark.
pub(super) fn mark(mark: &Mark) -> String {
    let by = mark.by.filter(|by| *by != mark.cpu).map_or_else(String::new, |by| format!(", from CPU {by}"));
    format!("CPU {}: {}{by}\ntick {}", mark.cpu, words::mark(mark.kind), mark.tick)
}

/// Where a CPU dies.
pub(super) fn death(cpu: usize, death: &Death) -> String {
    let mut text = format!("CPU {cpu} is lost at tick {}: it {}", death.tick, death.what);
    if death.access.is_none() {
        text = format!("CPU {cpu} is lost at tick {}: {}", death.tick, death.what);
    }
    if let Some(event) = death.event {
        let _ = write!(text, "\nbefore that: {}", words::mark(event));
    }
    if let Some(instruction) = &death.instruction {
        let _ = write!(text, "\ninstruction: {instruction}");
    }
    if let Some((tick, why)) = death.shutdown {
        let _ = write!(text, "\nshutdown at tick {tick}: {why}");
    }
    text + "\nregisters before:" + &registers(&death.registers)
}

/// Memory that is overwritten.
pub(super) fn front(front: &Front) -> String {
    let (start, end) = (front.range.start, front.range.end());
    format!(
        "CPU {} overwrites {start:#x} to {end:#x}, upwards\nticks {} to {}",
        front.by, front.start_tick, front.end_tick
    )
}

fn registers(registers: &Registers) -> String {
    let mut text = String::new();
    for (number, (name, value)) in registers.named().enumerate() {
        text.push_str(if number % COLUMNS == 0 { "\n" } else { "  " });
        let small = value <= SMALL_MAX && matches!(name, "CS" | "TR" | "GIF");
        let _ = if small { write!(text, "{name:6} {value:<18x}") } else { write!(text, "{name:6} {value:#018x}") };
    }
    text
}
