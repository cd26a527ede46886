//! Report lines on COM1.
//!
//! Several CPUs may report at once, and a fault handler may interrupt a CPU that is reporting. So lines are
//! written under a lock that is waited for, but not for ever: a garbled line is better than a silent hang.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::image::{insn, screen};
use crate::report::{LINE_BYTES, Value, write_line};

/// COM1's first port.
const COM1: u16 = 0x3f8;
// Registers of the 16550, as offsets from the first port.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
/// Line control: the divisor latch is at offsets 0 and 1.
const DIVISOR_LATCH: u8 = 0x80;
/// Line control: 8 data bits, no parity, one stop bit.
const EIGHT_N_ONE: u8 = 0x03;
/// Line status: a byte has come.
const DATA_READY: u8 = 0x01;
/// Line status: the transmit holding register is empty.
const TRANSMIT_EMPTY: u8 = 0x20;
/// Polls of the line status before a byte is sent regardless: some tenths of a second on any machine, where
/// 115200 baud needs 87 µs for a byte.
const TRANSMIT_POLLS: u32 = 100_000;
/// Tries to get the lock before a line is written without it.
const LOCK_TRIES: u32 = 10_000_000;

static BUSY: AtomicBool = AtomicBool::new(false);

/// Sets 115200 baud, 8 data bits, no interrupts.
pub(crate) fn init() {
    insn::out_u8(COM1 + INTERRUPT_ENABLE, 0);
    insn::out_u8(COM1 + LINE_CONTROL, DIVISOR_LATCH);
    insn::out_u8(COM1 + DATA, 1);
    insn::out_u8(COM1 + INTERRUPT_ENABLE, 0);
    insn::out_u8(COM1 + LINE_CONTROL, EIGHT_N_ONE);
    // FIFOs on and cleared.
    insn::out_u8(COM1 + FIFO_CONTROL, 0x07);
    // DTR and RTS, for a terminal at the other end.
    insn::out_u8(COM1 + MODEM_CONTROL, 0x03);
}

/// Lines that every parking and waking writes. `soak` does without: they would fill the log of hours.
const ROUTINE: [&str; 3] = ["parked", "sanitised", "woken"];

static ROUTINE_LEFT_OUT: AtomicBool = AtomicBool::new(false);

/// Leaves out, from now on, what every parking and waking writes.
pub(crate) fn leave_out_routine() {
    ROUTINE_LEFT_OUT.store(true, Ordering::Relaxed);
}

/// Writes one report line.
pub(crate) fn emit(event: &str, fields: &[(&str, Value<'_>)]) {
    if ROUTINE_LEFT_OUT.load(Ordering::Relaxed) && ROUTINE.contains(&event) {
        return;
    }
    let mut buffer = [0; LINE_BYTES];
    match write_line(&mut buffer, event, fields) {
        Ok(line) => send(line),
        Err(error) => {
            let mut short = [0; LINE_BYTES];
            let why = Value::Format(format_args!("{error}"));
            // If even this does not fit, the event's absence is the message.
            send(write_line(&mut short, "report-failed", &[("of", Value::Text(event)), ("why", why)]).unwrap_or(""));
        }
    }
}

/// Writes a report line that says what went wrong.
pub(crate) fn emit_failure(what: fmt::Arguments<'_>) {
    emit("failed", &[("why", Value::Format(what))]);
}

/// A byte from the other end, if one has come.
pub(crate) fn receive() -> Option<u8> {
    (insn::in_u8(COM1 + LINE_STATUS) & DATA_READY != 0).then(|| insn::in_u8(COM1 + DATA))
}

/// Empty lines, so many that whoever writes the port to a file in blocks has written all before them.
///
/// Bochs 2.7 loses the last bytes of its COM1 file when it ends; 32 newlines were enough.
pub(crate) fn flush() {
    send("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
}

fn send(line: &str) {
    let mut tries = 0;
    while BUSY.swap(true, Ordering::Acquire) {
        tries += 1;
        if tries == LOCK_TRIES {
            break;
        }
        core::hint::spin_loop();
    }
    for &byte in line.as_bytes() {
        for _ in 0..TRANSMIT_POLLS {
            if insn::in_u8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY != 0 {
                break;
            }
        }
        insn::out_u8(COM1 + DATA, byte);
    }
    screen::write(line);
    BUSY.store(false, Ordering::Release);
}
