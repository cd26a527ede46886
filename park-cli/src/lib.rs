//! The `park` program as a library: every command computes a document, and prints it as JSON or as text.
//!
//! Documents are computed from arguments alone, without looking at a terminal or a clock; `main` only connects them
//! to the world. Exit codes are in [`exit::Exit`].
#![forbid(unsafe_code)]

pub mod args;
pub mod exit;
pub mod names;
pub mod output;
pub mod paint;
pub mod survey;
