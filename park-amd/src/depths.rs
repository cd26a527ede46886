//! How deep MWAIT may go on AMD: one table entry, since the deeper states are entered by I/O ports.

use park_x86::features::Features;

/// Hint of C1, the only state that AMD's firmware tables enter by MWAIT (C2 is an I/O port read: Gautham Shenoy,
/// linux-pm, 2024).
const C1: u32 = 0x00;

/// Time out of C1 by MWAIT, in microseconds: what is reported for Zen (1 to 1.5 us), rounded up.
pub const MWAIT_EXIT_LATENCY_US: u32 = 2;

/// Longest time out of HLT, in microseconds, that is known: an EPYC 7502P (FreeBSD review D47444).
pub const HLT_EXIT_LATENCY_US: u32 = 400;

/// The hint for a budget of `latency_us` microseconds: always C1.
///
/// C1 by MWAIT is not the same depth as HLT: on an EPYC 7502P a HLT took about 400 µs to wake from, like the I/O
/// state (FreeBSD review D47444). Leaf 5 counts sub-states of C1 on recent parts; none is documented.
#[must_use]
pub const fn deepest(_features: &Features, _latency_us: u32) -> u32 {
    C1
}
