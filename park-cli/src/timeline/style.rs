//! Colours. States have the same ones in both schemes, chosen to carry their text; ground, ink and lines change.

/// Styles of the drawing, under the class `park-timeline`.
pub(super) const DRAWING: &str = "\
.park-timeline{--g:#fdfdfb;--i:#1d2327;--f:#545d63;--l:#c9cec7;--ok:#17694a;--ko:#a3261b;--glow:#f6d9a8;--held:#cdd7e2;--odd:#e3e8ee;--hatch:#b9673a;\
font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:11.5px}
@media(prefers-color-scheme:dark){.park-timeline{--g:#1c2225;--i:#e6e9e6;--f:#a3adb2;--l:#465056;--ok:#6fd3a6;--ko:#ff8f80;--glow:#5b4420;--held:#44525f;--odd:#37424c;--hatch:#c97a48}}
.park-timeline text{fill:var(--i)}
.park-timeline .ground{fill:var(--g)}
.park-timeline .title{font-size:19px;font-weight:700}
.park-timeline .head{font-size:15px;font-weight:700}
.park-timeline .cpu{font-size:13px;font-weight:700}
.park-timeline .way,.park-timeline .faint{fill:var(--f);font-size:11px}
.park-timeline .lead{fill:var(--f);font-size:12.5px}
.park-timeline .good{fill:var(--ok);font-weight:600}
.park-timeline .bad{fill:var(--ko);font-weight:600}
.park-timeline .label{font-size:11px}
.park-timeline .bar{stroke:var(--g);stroke-width:.6}
.park-timeline .inbar,.park-timeline .state text{font-size:11px;fill:#14181a}
.park-timeline .memory .inbar,.park-timeline .inkernel{fill:var(--i);font-size:10.5px}
.park-timeline .glyph{fill:var(--i)}
.park-timeline .tickline{stroke:var(--f);stroke-width:1.4}
.park-timeline .deathline{stroke:var(--ko);stroke-width:2.4}
.park-timeline .deathtext{fill:var(--ko);font-size:11px;font-weight:600}
.park-timeline .actline{stroke:var(--l);stroke-width:1;stroke-dasharray:2 3}
.park-timeline .number{fill:var(--i);rx:3px}
.park-timeline .numbertext{fill:var(--g);font-size:10.5px;font-weight:700}
.park-timeline .kernel.even,.park-timeline .held{fill:var(--held)}
.park-timeline .kernel.odd{fill:var(--odd)}
.park-timeline .empty{fill:none;stroke:var(--l);stroke-width:1}
.park-timeline .lot{fill:#3fae7f}
.park-timeline .memory .lot+.inbar{fill:#14181a}
.park-timeline .glow{fill:var(--glow);opacity:.55}
.park-timeline .gone{stroke:none}
.park-timeline .hatch{fill:var(--hatch)}
.park-timeline .front{stroke:var(--ko);stroke-width:2}
.park-timeline .s-kernel{fill:#b7c4d4}
.park-timeline .s-arriving{fill:#9adbd2}
.park-timeline .s-bay-code{fill:#58bfae}
.park-timeline .s-lot-hlt{fill:#3fae7f}
.park-timeline .s-lot-mwait{fill:#6cbb5c}
.park-timeline .s-lot-clgi{fill:#a2c24f}
.park-timeline .s-bay-faulted{fill:#d08a34}
.park-timeline .s-leaving{fill:#86c9e6}
.park-timeline .s-foreign-code{fill:#e0a94a}
.park-timeline .s-foreign-hlt{fill:#f2d04f}
.park-timeline .s-foreign-mwait{fill:#f5e196}
.park-timeline .s-wait-for-sipi{fill:#a9abb4}
.park-timeline .s-handler{fill:#bda2e6}
.park-timeline .s-smm{fill:#e39ccb}
.park-timeline .s-astray{fill:#ea6a3f}
.park-timeline .s-shutdown{fill:#a32018}
.park-timeline .s-reset{fill:#7a2a6b}
.park-timeline .s-shutdown text,.park-timeline .s-reset text{fill:#fff}
";
