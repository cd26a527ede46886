//! Samples on their way to the serial line, a few to a line. A line is written when its numbers are there, between rounds.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use park_core::Ticks;

use crate::bench::{Row, Stamp};
use crate::image::serial;
use crate::report::Value;

/// Numbers in a line: as many as fit one with 20 digits each.
const LINE_SAMPLES: usize = 16;

/// Samples of one stamp of one row that are not written yet.
struct Batch {
    len: AtomicUsize,
    ticks: [AtomicU64; LINE_SAMPLES],
}

static BATCHES: [[Batch; Stamp::ALL.len()]; Row::ALL.len()] = [const {
    [const { Batch { len: AtomicUsize::new(0), ticks: [const { AtomicU64::new(0) }; LINE_SAMPLES] } }; Stamp::ALL.len()]
}; Row::ALL.len()];

/// Takes a sample. The boot CPU alone does so.
pub(super) fn take(row: Row, stamp: Stamp, ticks: Ticks) {
    let Some(batch) = BATCHES.get(row as usize).and_then(|row| row.get(stamp as usize)) else { return };
    let len = batch.len.load(Ordering::Relaxed);
    if let Some(slot) = batch.ticks.get(len) {
        slot.store(ticks, Ordering::Relaxed);
        batch.len.store(len + 1, Ordering::Relaxed);
    }
    if len + 1 >= LINE_SAMPLES {
        write(row, stamp, batch);
    }
}

/// Writes what is left.
pub(super) fn flush() {
    for (row, batches) in Row::ALL.into_iter().zip(&BATCHES) {
        for (stamp, batch) in Stamp::ALL.into_iter().zip(batches) {
            write(row, stamp, batch);
        }
    }
}

fn write(row: Row, stamp: Stamp, batch: &Batch) {
    let len = batch.len.swap(0, Ordering::Relaxed);
    let mut ticks = [0; LINE_SAMPLES];
    for (number, slot) in ticks.iter_mut().zip(&batch.ticks) {
        *number = slot.load(Ordering::Relaxed);
    }
    if let Some(ticks) = ticks.get(..len).filter(|ticks| !ticks.is_empty()) {
        emit("sample", row, stamp, ticks);
    }
}

/// Writes the sample of the first wake of a row: cold caches, and under a translator, code that is not translated.
pub(super) fn cold(row: Row, stamp: Stamp, ticks: Ticks) {
    emit("cold", row, stamp, &[ticks]);
}

fn emit(event: &str, row: Row, stamp: Stamp, ticks: &[u64]) {
    let fields =
        [("row", Value::Text(row.name())), ("stamp", Value::Text(stamp.name())), ("ticks", Value::Numbers(ticks))];
    serial::emit(event, &fields);
}
