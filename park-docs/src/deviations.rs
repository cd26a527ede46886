//! `docs/deviations.md`: what emulators do otherwise than the manuals say.

use crate::{head, row};
use park_core::Mechanism;
use park_lab::configuration::Emulator;
use park_lab::{deviations, habits};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Deviations of emulators

What QEMU (7.2, its translator TCG) and Bochs (2.7) do otherwise than the manuals say, as far as the lab meets it. `park lab` measures
every case that a rig can show: what differs from [the claims](claims.md) and is not listed here fails the lab, and so does what is listed
and no longer happens, or can't be measured any more. [The matrix](matrix.html) marks them with ≠.

Nothing is listed for the simulator: where it did not do what the manuals say, it was corrected.

",
    );
    for emulator in Emulator::FOREIGN {
        let name = match emulator {
            Emulator::Qemu => "QEMU",
            Emulator::Bochs => "Bochs",
            Emulator::Simulator => "The simulator",
        };
        text.push_str(&format!("## {name}\n\n"));
        text.push_str(&head(&["case", "the manuals", name, "why"]));
        for mechanism in Mechanism::ALL {
            let of = |row: &&deviations::Deviation| (row.emulator, row.mechanism) == (emulator, mechanism);
            for one in deviations::ALL.iter().filter(of) {
                text.push_str(&row([
                    &format!("`{}/{}`", one.mechanism, one.event),
                    one.expected.name(),
                    one.seen.name(),
                    one.reason,
                ]));
            }
        }
        text.push('\n');
    }
    text.push_str("## Where no case shows it\n\n");
    text.push_str(&head(&["emulator", "the manuals", "the emulator", "why", "shown by"]));
    for habit in habits::ALL {
        let emulators: Vec<&str> = habit.emulators.iter().map(|emulator| emulator.name()).collect();
        text.push_str(&row([&emulators.join(", "), habit.manuals, habit.does, habit.reason, habit.shown_by]));
    }
    text
}
