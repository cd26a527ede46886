//! Stock Linux in the lab: a kernel that none of us wrote, which takes CPUs out of a lot and parks its own beside it.

pub mod bzimage;
pub mod cache;
pub mod chain;
pub mod cpio;
pub mod debian;
pub mod initramfs;
pub mod kernel;
pub mod lot_memory;
pub mod machine;
pub mod mailbox;
pub mod torture;
pub mod userland;
pub mod way;
