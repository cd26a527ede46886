//! The heart of park: words, platform traits, the lot format (the ABI) and the operations on it.
//!
//! `park-core` knows no instruction and no vendor. It holds
//!
//! * the vocabulary: [`PhysAddr`], [`ApicId`], [`Generation`], [`Mechanism`], [`Event`], [`Claim`];
//! * the platform traits that a kernel implements (and the simulator too): [`LotMemory`], [`Clock`],
//!   [`IpiSender`], [`Summon`], [`Cpu`];
//! * the [`lot`]: the reserved memory that outlives kernels, byte by byte;
//! * the [`acpi`] tables by which lots are found, and CPUs are asked for through the mailbox;
//! * the operations ([`op`]): park, wake, confirm, hold, flush, repark, revoke, hand over, accept, seize, as
//!   sans-IO values that a kernel can drive from a loop, a timer, or an explorer access by access.
//!
//! There is no `unsafe` block here, no allocation, and `bitflags` is the only dependency.
#![no_std]
#![forbid(unsafe_code)]

pub mod acpi;
mod claim;
mod cpu;
mod entry;
mod error;
mod event;
mod ids;
pub mod lot;
mod mechanism;
pub mod op;
mod platform;

pub use claim::{Claim, Condition, Response};
pub use cpu::{Action, ApicRegister, Cpu, CpuidResult, Register};
pub use entry::Entry;
pub use error::{Error, ErrorKind, PlatformError};
pub use event::Event;
pub use ids::{ApicId, Generation, PhysAddr, Sequence};
pub use mechanism::{Mechanism, MechanismSet};
pub use platform::{Clock, IpiSender, LotMemory, Summon, Ticks};
