//! The lot, byte by byte: the ABI between kernels, and between a kernel and the bay code.
//!
//! `docs/abi.md` describes the same for a C reader. Everything is little-endian, and every field that more than
//! one party touches is an aligned 64-bit word with one writer, or changed by compare-and-swap.

pub mod bay;
mod crc;
mod doorbell;
pub mod header;
mod inspect;
pub mod layout;
mod lease;
mod verify;

pub use bay::{ApicMode, BayState, BayView, FaultRecord, OwnerState, OwnerWord, PagingLevels, Stage, WaitFlags};
pub use crc::Crc32;
pub use doorbell::{Command, Doorbell, Phase};
pub use header::{Compat, Header, Incompat, RoCompat};
pub use inspect::{Inspected, inspect};
pub use layout::{Layout, PAGE_SIZE};
pub use lease::{LeaseState, LeaseWord};
pub use verify::{Lot, checksum, header_checksum, verify};
