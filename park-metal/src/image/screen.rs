//! Report lines on a screen in text mode: real machines often have no serial line.
//!
//! Two bytes for each character, the code and its colours (IBM VGA, mode 03h). Lines that are too long go on in the next row;
//! the screen moves up when it is full. Called under the lock of the serial line.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::memory::IDENTITY_MAP_END;
use crate::multiboot2::TextScreen;

/// Grey on black.
const COLOURS: u16 = 0x0700;
/// Bytes of a character with its colours.
const CELL_BYTES: u64 = 2;
/// What stands for a character outside ASCII.
const UNKNOWN: u8 = b'?';

/// Where the screen is; 0 for none.
static AT: AtomicU64 = AtomicU64::new(0);
static COLUMNS: AtomicU32 = AtomicU32::new(0);
static ROWS: AtomicU32 = AtomicU32::new(0);
/// The next free character of the last row.
static COLUMN: AtomicU32 = AtomicU32::new(0);

/// Writes to this screen from now on, and clears it; `None`: to none.
pub(crate) fn choose(screen: Option<TextScreen>) {
    let reachable = |screen: &TextScreen| {
        let len_bytes = u64::from(screen.columns) * u64::from(screen.rows) * CELL_BYTES;
        screen.at.0 != 0 && screen.at.checked_add(len_bytes).is_some_and(|end| end <= IDENTITY_MAP_END)
    };
    let Some(screen) = screen.filter(reachable) else {
        AT.store(0, Ordering::Relaxed);
        return;
    };
    COLUMNS.store(screen.columns, Ordering::Relaxed);
    ROWS.store(screen.rows, Ordering::Relaxed);
    COLUMN.store(0, Ordering::Relaxed);
    AT.store(screen.at.0, Ordering::Relaxed);
    for row in 0..screen.rows {
        for column in 0..screen.columns {
            put(row, column, COLOURS | u16::from(b' '));
        }
    }
}

/// Writes text at the bottom.
pub(crate) fn write(text: &str) {
    if AT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let (columns, rows) = (COLUMNS.load(Ordering::Relaxed), ROWS.load(Ordering::Relaxed));
    for letter in text.chars() {
        if letter == '\n' || COLUMN.load(Ordering::Relaxed) == columns {
            move_up(columns, rows);
            COLUMN.store(0, Ordering::Relaxed);
        }
        if letter != '\n' {
            let code = if letter.is_ascii() { letter as u8 } else { UNKNOWN };
            put(rows - 1, COLUMN.fetch_add(1, Ordering::Relaxed), COLOURS | u16::from(code));
        }
    }
}

fn move_up(columns: u32, rows: u32) {
    for row in 1..rows {
        for column in 0..columns {
            let above = cell(row, column);
            // SAFETY: on the screen, which `choose` has found mapped; nobody else accesses it.
            let value = unsafe { above.read_volatile() };
            put(row - 1, column, value);
        }
    }
    for column in 0..columns {
        put(rows - 1, column, COLOURS | u16::from(b' '));
    }
}

fn cell(row: u32, column: u32) -> *mut u16 {
    let offset = (u64::from(row) * u64::from(COLUMNS.load(Ordering::Relaxed)) + u64::from(column)) * CELL_BYTES;
    core::ptr::with_exposed_provenance_mut((AT.load(Ordering::Relaxed) + offset) as usize)
}

fn put(row: u32, column: u32, value: u16) {
    // SAFETY: as in `move_up`.
    unsafe { cell(row, column).write_volatile(value) }
}
