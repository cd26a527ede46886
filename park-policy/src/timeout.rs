//! How long to wait for a CPU to park.

use park_core::Mechanism;

/// From the request until a CPU should be in its bay, in microseconds: what Linux gives CPUs that crash
/// (`nmi_shootdown_cpus()`: "Wait at most a second for the other cpus to stop").
pub const ARRIVAL_US: u32 = 1_000_000;
/// What each further CPU of the plan adds, in microseconds: all of them may write back their caches (WBINVD), and those of
/// a package share one.
pub const ARRIVAL_SHARE_US: u32 = 500;
/// What wait-for-SIPI adds, in microseconds: the time an INIT takes (Intel SDM vol. 3, "MP Initialization Protocol
/// Algorithm for MP Systems").
pub const SINK_US: u32 = 10_000;

/// How long to wait for a CPU to park by `mechanism` as one of `count`, in microseconds.
///
/// That it is over does *not* mean that the CPU will not come: its bay is quarantined then.
#[must_use]
pub fn timeout_us(mechanism: Mechanism, count: usize) -> u32 {
    let others = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    let arrival = ARRIVAL_US.saturating_add(others.saturating_mul(ARRIVAL_SHARE_US));
    match mechanism {
        Mechanism::Hlt | Mechanism::Mwait | Mechanism::Clgi => arrival,
        Mechanism::WaitForSipi => arrival.saturating_add(SINK_US),
    }
}
