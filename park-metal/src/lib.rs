//! The freestanding image that parks real CPUs, as a library.
//!
//! What can be computed is here and tested on the host: the [command line](cmdline), [PVH start info](pvh), [multiboot2
//! information](multiboot2), the [memory layout](memory), [descriptor tables](cpu_tables) and
//! [report lines](report). What needs the machine for itself is in `image`, compiled with the feature `image`;
//! the binary is a panic handler around it.
//!
//! The image is entered by PVH (`qemu-system-x86_64 -kernel`) or multiboot2 (GRUB on BIOS and UEFI, kexec), runs one test that the command line names,
//! writes one JSON object per line to COM1, ends with `{"event":"complete",…}` and leaves QEMU through
//! `isa-debug-exit`.
#![cfg_attr(not(test), no_std)]

pub mod bench;
pub mod choices;
pub mod cmdline;
pub mod cpu_tables;
pub mod last_step;
pub mod linux;
pub mod memory;
pub mod multiboot2;
pub mod pvh;
pub mod report;
pub mod silicon;
pub mod strangers;
pub mod uefi_map;

// Not in the library's own unit tests: those are host programs, and their link can't place 32-bit code.
#[cfg(all(feature = "image", not(test)))]
pub mod image;
#[cfg(all(feature = "image", not(test)))]
mod platform;
