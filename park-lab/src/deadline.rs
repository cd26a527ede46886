//! A moment by which something must have ended.

use core::time::Duration;
use std::time::Instant;

use crate::LabError;

/// A moment, and how long the wait for it was meant to be.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now on.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or_before(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    /// True from the moment on.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }

    /// What is left until then.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// How long the wait was meant to be.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// That it has passed for `what`, as an error.
    #[must_use]
    pub fn error(&self, what: impl Into<String>) -> LabError {
        LabError::Deadline { what: what.into(), limit_s: self.limit.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_counts() {
        let minute = Duration::from_secs(60);
        let (early, late) = (Deadline::after(minute), Deadline::after(2 * minute));
        assert_eq!(early.or_before(late).limit(), minute);
        assert_eq!(late.or_before(early).limit(), minute);
        assert!(Deadline::after(Duration::ZERO).has_passed());
        assert!(!early.has_passed());
    }
}
