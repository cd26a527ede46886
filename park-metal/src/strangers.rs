//! The word `strangers=EVENT:MASK`: which CPUs somebody else has parked, and what is fired at them.

use park_core::ApicId;

/// What is fired at CPUs that another kernel has parked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fire {
    /// Nothing: the control. Memory is overwritten all the same.
    Nothing,
    /// An NMI at each.
    Nmi,
    /// A store to every line of memory that they could watch.
    Store,
    /// A machine check that the host broadcasts.
    McBroadcast,
}

impl Fire {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Nmi, Self::Store, Self::McBroadcast];

    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Nmi => "nmi",
            Self::Store => "store",
            Self::McBroadcast => "mc-broadcast",
        }
    }
}

/// CPUs of others, and what is fired at them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Strangers {
    /// What is fired.
    pub fire: Fire,
    /// Bit N: the CPU with APIC id N.
    mask: u64,
}

impl Strangers {
    /// What `text` says, as `nmi:0xe`; `None` if it says nothing that makes sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (event, mask) = text.split_once(":0x")?;
        let fire = Fire::ALL.into_iter().find(|fire| fire.name() == event)?;
        Some(Self { fire, mask: u64::from_str_radix(mask, 16).ok()? })
    }

    /// Their APIC ids.
    pub fn apic_ids(self) -> impl Iterator<Item = ApicId> {
        (0..u64::BITS).filter(move |id| self.mask >> id & 1 != 0).map(ApicId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_a_mask_are_read() {
        let found = Strangers::parse("nmi:0x8000000000000006").unwrap();
        assert_eq!(found.fire, Fire::Nmi);
        assert_eq!(found.apic_ids().collect::<Vec<_>>(), [ApicId(1), ApicId(2), ApicId(63)]);
        assert_eq!(Strangers::parse("nothing:0x0").unwrap().apic_ids().count(), 0);
        for fire in Fire::ALL {
            assert_eq!(Strangers::parse(&format!("{}:0x2", fire.name())).unwrap().fire, fire);
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for text in ["", "nmi", "nmi:6", "nmi:0x", "nmi:0xg", "smi:0x2", ":0x2", "nmi:0x10000000000000000"] {
            assert_eq!(Strangers::parse(text), None, "{text}");
        }
    }
}
