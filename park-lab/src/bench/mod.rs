//! Timing park: the image's `t=bench`, what its samples say, and the counts of instructions that must not grow.
//!
//! | module | what |
//! |---|---|
//! | [`run`] | runs the image under QEMU, in real time with its CPUs pinned, or counting instructions |
//! | [`log`] | reads what it reported, from QEMU or from a real machine's serial line |
//! | [`statistics`] | quantiles, ratios of them, and how sure they are |
//! | [`counts`] | instruction counts, as recorded and as found |
//! | [`gates`] | what counts and times must reach |
//! | [`quiet`] | whether the host has anything else to do |

pub mod counts;
pub mod gates;
pub mod log;
pub mod quiet;
pub mod run;
pub mod statistics;

pub use counts::Counts;
pub use log::Log;
