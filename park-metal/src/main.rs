//! The freestanding image. All logic is in the library; this file makes it a program.
//!
//! `cargo build -p park-metal --features image --profile metal`, then `qemu-system-x86_64 -kernel`.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    park_metal::image::panicked(info)
}
