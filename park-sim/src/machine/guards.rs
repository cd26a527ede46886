//! What fails when a rule is switched off: the list beside the rules.

use super::rules::Rule;

/// The name of the scenario, cell or planted fault that fails without `rule`; empty while none is recorded.
pub(crate) const fn guard(rule: Rule) -> &'static str {
    let _ = rule;
    ""
}
