//! `measure` on scripted rigs: one for each response, and rigs that lie.

mod lies;
mod responses;
mod scripted;
