//! ACPI tables: read from memory that nobody vouches for, and written for an operating system.

mod input;
mod machine;
mod output;
