//! How an instruction can fail to complete.

use super::bits::vector;

/// An exception raised by an instruction or an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) vector: u8,
    pub(crate) error: Option<u32>,
}

/// Why an instruction did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    Fault(Fault),
    /// Not modelled.
    Unsupported(&'static str),
    /// An MSR that is not modelled.
    UnknownMsr(u32),
}

pub(crate) type Exec<T> = Result<T, Trap>;

pub(crate) const fn fault(vector: u8) -> Trap {
    Trap::Fault(Fault { vector, error: None })
}

pub(crate) const fn fault_with(vector: u8, error: u32) -> Trap {
    Trap::Fault(Fault { vector, error: Some(error) })
}

/// #GP(0).
pub(crate) const GP0: Trap = fault_with(vector::GP, 0);
/// #UD.
pub(crate) const UD: Trap = fault(vector::UD);
