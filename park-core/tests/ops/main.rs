//! The operations of park-core against a lot in plain memory and a CPU that follows the doorbell protocol.

mod crash;
mod lot;
mod overtaken;
mod parking;
mod race;
mod ringing;
mod sipi;
mod take_over;
mod verify;
mod world;
