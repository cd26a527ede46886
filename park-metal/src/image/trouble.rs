//! The test `trouble`.

use crate::image::failure::Failure;
use crate::image::world::World;

/// Runs the test.
pub(crate) fn run(_world: &World) -> Result<(), Failure> {
    Err(Failure::Machine("this test is not written yet"))
}
