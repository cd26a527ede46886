//! What `mechanism` and `break` may be on the command line.

use park_core::Mechanism;

/// How `torture` decides by which mechanism a CPU parks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Choice {
    /// The CPUs take what the machine offers in turn: all mechanisms, one beside the other.
    #[default]
    Turn,
    /// What park-policy chooses for a kexec.
    Policy,
    /// This one for all.
    Only(Mechanism),
}

impl Choice {
    /// The choice with this name: `turn`, `policy`, or a mechanism's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "turn" => Some(Self::Turn),
            "policy" => Some(Self::Policy),
            _ => Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name).map(Self::Only),
        }
    }
}

/// What is wrong with the lot on purpose, so that it is seen to lose CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breakage {
    /// The parked IDT is empty: an NMI is a triple fault.
    NoIdt,
    /// CPUs wait with CR4.MCE = 0: a machine check is a shutdown.
    NoMce,
    /// CPUs acknowledge some tens of ms before they have left their owner's memory.
    EarlyAck,
    /// Nothing, but they are as slow as with [`EarlyAck`](Self::EarlyAck): the control, which loses nobody.
    SlowArrival,
    /// An NMI returns to what it interrupted, also between the look at the doorbell and HLT.
    NoWindow,
    /// Nothing, but the time between the look at the doorbell and HLT is as long as with [`NoWindow`](Self::NoWindow): the
    /// control, which loses nobody.
    WideWindow,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NoIdt, Self::NoMce, Self::EarlyAck, Self::SlowArrival, Self::NoWindow, Self::WideWindow];

    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoIdt => "no-idt",
            Self::NoMce => "no-mce",
            Self::EarlyAck => "early-ack",
            Self::SlowArrival => "slow-arrival",
            Self::NoWindow => "no-window",
            Self::WideWindow => "wide-window",
        }
    }

    /// The breakage with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|breakage| breakage.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for breakage in Breakage::ALL {
            assert_eq!(Breakage::from_name(breakage.name()), Some(breakage));
        }
        for mechanism in Mechanism::ALL {
            assert_eq!(Choice::from_name(mechanism.name()), Some(Choice::Only(mechanism)));
        }
        assert_eq!(
            (Choice::from_name("turn"), Choice::from_name("policy")),
            (Some(Choice::Turn), Some(Choice::Policy))
        );
        assert_eq!((Choice::from_name("sleep"), Breakage::from_name("")), (None, None));
    }
}
