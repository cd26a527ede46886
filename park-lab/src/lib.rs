//! The lab: runs park's freestanding image on emulators and judges what it reports.
//!
//! A *trial* is one test of the image on one [configuration](configuration::Configuration) of an emulator. It counts only
//! if the image says by its completion token that it came to its end, and nothing else says otherwise: silence, a reset, a
//! wrong token or another exit status fail. Nothing that a lab starts outlives it, see [`group`].
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bench;
pub mod bochs;
pub mod configuration;
pub mod conformance;
pub mod deadline;
pub mod deviations;
pub mod error;
pub mod group;
pub mod habits;
pub mod image;
pub mod iso;
pub mod judge;
pub mod lab;
pub mod line;
pub mod linux;
pub mod observer;
pub mod qemu;
pub mod qmp;
pub mod registers;
pub mod resets;
pub mod rig;
pub mod serial;
pub mod session;
pub mod simulated;
pub mod smm_log;
pub mod sweep;
pub mod tool;
pub mod trial;

pub use error::LabError;
