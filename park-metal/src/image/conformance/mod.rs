//! The test `conformance`: what each event does to a CPU that waits by each mechanism, measured on this machine.

mod control;
mod fire;
mod gathering;
pub(crate) mod host;
pub(crate) mod landing;
mod rig;

use park_conformance::{Case, MeasureError, measure};

use self::rig::MetalRig;
use crate::image::failure::Failure;
use crate::image::serial;
use crate::image::world::World;
use crate::report::Value;

/// How often each event is made to happen in a case.
const TIMES: u32 = 3;

/// Runs the test: every case that the command line names. It holds if each came to a verdict, or can't be shown here.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let target = world.others().next().ok_or(Failure::Machine("two CPUs are needed; use -smp 2"))?;
    // SAFETY: every CPU is in its job loop and stays there but for the target; the image was started long ago.
    let mut rig = unsafe { MetalRig::new(world, target) };
    let (mut verdicts, mut doubts) = (0_u64, 0_u64);
    for case in Case::all().filter(|case| case.matches(world.options.cases.text())) {
        let name = ("case", Value::Format(format_args!("{case}")));
        serial::emit("case", &[name]);
        match measure(&mut rig, case, TIMES) {
            Ok(seen) => {
                verdicts += 1;
                let fields = [
                    name,
                    ("fired", Value::Number(seen.fired.into())),
                    ("witnessed", Value::Number(seen.witnessed.into())),
                    ("coalesced", Value::Text(seen.coalesced.map_or("none", |coalesced| coalesced.name()))),
                    ("response", Value::Text(seen.response.name())),
                    ("confirmed", Value::Text(seen.confirmed.name())),
                    ("entries", Value::Number(seen.entries.into())),
                    ("waiting", Value::Text(seen.waiting.name())),
                ];
                serial::emit("verdict", &fields);
            }
            Err(MeasureError::Lacks(lack)) => {
                let fields = [name, ("kind", Value::Text(lack.kind.name())), ("why", Value::Text(lack.detail))];
                serial::emit("lacks", &fields);
            }
            Err(MeasureError::Doubt(doubt)) => {
                doubts += 1;
                let why = ("why", Value::Format(format_args!("{doubt}")));
                serial::emit("doubt", &[name, ("doubt", Value::Text(doubt.name())), why]);
            }
            Err(error @ MeasureError::Rig { .. }) => {
                let why = ("why", Value::Format(format_args!("{error}")));
                serial::emit("rig-failed", &[name, why]);
                return Err(Failure::Machine("the rig failed"));
            }
        }
    }
    serial::emit("conformance", &[("verdicts", Value::Number(verdicts)), ("doubts", Value::Number(doubts))]);
    if verdicts + doubts == 0 { Err(Failure::Machine("no case of this name can be shown here")) } else { Ok(()) }
}
