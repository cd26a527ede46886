//! `park survey`: who made a machine, how many CPUs it has, and what park can do with them.

pub mod document;
