//! How an instruction can fail to complete.
//!
//! A [`Trap`] is one word, so that `Result<u64, Trap>` returns in registers: every access of every instruction returns one.

use super::bits::vector;

/// An exception raised by an instruction or an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) vector: u8,
    pub(crate) error: Option<u32>,
}

/// What the model lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Missing {
    Instruction,
    Operand,
    Gate,
    ProtectedGate,
    TripleFaultRuleOff,
    ApicAccess,
    ApicMove,
    TscWrite,
    Paging,
    PrivilegeChange,
    TaskReturn,
}

impl Missing {
    const ALL: [Self; 11] = [
        Self::Instruction,
        Self::Operand,
        Self::Gate,
        Self::ProtectedGate,
        Self::TripleFaultRuleOff,
        Self::ApicAccess,
        Self::ApicMove,
        Self::TscWrite,
        Self::Paging,
        Self::PrivilegeChange,
        Self::TaskReturn,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Instruction => "instruction",
            Self::Operand => "operand",
            Self::Gate => "far transfer through a gate or TSS",
            Self::ProtectedGate => "task gate or 16-bit gate",
            Self::TripleFaultRuleOff => "triple fault",
            Self::ApicAccess => "APIC access that is not an aligned 32-bit one",
            Self::ApicMove => "moving the local APIC page",
            Self::TscWrite => "writing the TSC",
            Self::Paging => "paging outside long mode",
            Self::PrivilegeChange => "return to another privilege level",
            Self::TaskReturn => "IRET to a task",
        }
    }
}

/// Why an instruction did not complete, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Fault(Fault),
    /// Not modelled.
    Missing(Missing),
    /// An MSR that is not modelled.
    UnknownMsr(u32),
}

/// Why an instruction did not complete: bits 0-31 error code, MSR or reason; 32-39 vector; 40 there is an error code; 48-49 the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap(u64);

const VECTOR_SHIFT: u32 = 32;
const HAS_ERROR: u64 = 1 << 40;
const IS_MISSING: u64 = 1 << 48;
const IS_MSR: u64 = 1 << 49;

impl Trap {
    pub(crate) const fn missing(what: Missing) -> Self {
        Self(IS_MISSING | what as u64)
    }

    pub(crate) const fn unknown_msr(number: u32) -> Self {
        Self(IS_MSR | number as u64)
    }

    pub(crate) fn cause(self) -> Cause {
        let low = self.0 as u32;
        if self.0 & IS_MISSING != 0 {
            return Cause::Missing(Missing::ALL.get(low as usize).copied().unwrap_or(Missing::Instruction));
        }
        if self.0 & IS_MSR != 0 {
            return Cause::UnknownMsr(low);
        }
        Cause::Fault(Fault { vector: (self.0 >> VECTOR_SHIFT) as u8, error: (self.0 & HAS_ERROR != 0).then_some(low) })
    }
}

pub(crate) type Exec<T> = Result<T, Trap>;

pub(crate) const fn fault(vector: u8) -> Trap {
    Trap((vector as u64) << VECTOR_SHIFT)
}

pub(crate) const fn fault_with(vector: u8, error: u32) -> Trap {
    Trap(((vector as u64) << VECTOR_SHIFT) | HAS_ERROR | error as u64)
}

/// #GP(0).
pub(crate) const GP0: Trap = fault_with(vector::GP, 0);
/// #UD.
pub(crate) const UD: Trap = fault(vector::UD);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_survive_packing() {
        assert_eq!(GP0.cause(), Cause::Fault(Fault { vector: 13, error: Some(0) }));
        assert_eq!(UD.cause(), Cause::Fault(Fault { vector: 6, error: None }));
        assert_eq!(fault_with(14, u32::MAX).cause(), Cause::Fault(Fault { vector: 14, error: Some(u32::MAX) }));
        assert_eq!(Trap::unknown_msr(0xc001_0000).cause(), Cause::UnknownMsr(0xc001_0000));
        for (at, what) in Missing::ALL.into_iter().enumerate() {
            assert_eq!((what as usize, Trap::missing(what).cause()), (at, Cause::Missing(what)));
        }
    }
}
