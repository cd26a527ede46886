//! `docs/rules.md`: the simulator's CPU rules and knobs.

use crate::{head, row};
use park_sim::machine::{Knob, Rule};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# CPU rules and knobs of the simulator

Each architectural rule stands once in `park-sim`, and can be switched off: then the test in the last column fails. S is the
Intel SDM, A the AMD APM volume 2, by section.

",
    );
    text.push_str(&head(&["rule", "text", "source", "shown by"]));
    for rule in Rule::ALL {
        text.push_str(&row([rule.name(), rule.text(), rule.citation(), rule.guard()]));
    }
    text.push_str(
        "\n## Knobs

One for each cell that the manuals leave undocumented or to the implementation. What park promises holds for every value; the
first is the default.

",
    );
    text.push_str(&head(&["knob", "values", "chooses", "source"]));
    for knob in Knob::ALL {
        text.push_str(&row([knob.name(), &knob.values().join(", "), knob.text(), knob.citation()]));
    }
    text
}
