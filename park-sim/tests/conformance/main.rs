//! Simulated kernels as platforms: checked by `platform::check`, and with operations over IPIs that go wrong.

#[path = "../common/mod.rs"]
mod common;
mod faulty;
mod platform;
mod platforms;
#[path = "../../../park-conformance/tests/platform/wrong.rs"]
mod wrong;
