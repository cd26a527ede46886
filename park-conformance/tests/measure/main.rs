//! `measure` on scripted rigs: one for each response, and rigs that lie.

mod lies;
mod limits;
mod responses;
mod scripted;
