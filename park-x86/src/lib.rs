//! Parking on x86: bay code, lot builder, arrival and leaving, sanitising, registers, local APIC, AP start.
//!
//! All assembly and all `unsafe` of the library is here.
#![no_std]

pub mod apic;
pub mod arrive;
pub mod builder;
pub mod code;
pub mod errata;
pub mod features;
pub mod frame;
pub mod hardware;
pub mod memory;
pub mod orders;
pub mod paging;
pub mod registers;
pub mod sanitise;
pub mod startup;
pub mod state;
