//! The matrix as a page that stands alone: claims in colour, citations and measurements on hover or focus.

use super::column::{Evidence, MatrixVendor, Measured};
use super::document::{CellDocument, ClaimDocument, MatrixDocument, RigDocument, Status, VendorDocument};
use super::told::told;
use super::words::{DEVIATES, Gravity, conclusion, condition_text, event_text, response_text, told_line};
use crate::page::{Page, escape, page as framed};
use park_conformance::LackKind;
use park_core::{Event, Response};

/// Styles of this page alone. The panel with a cell's details stands at the foot of the window: there it covers nothing
/// that is being read, on any width, and needs no script.
const STYLE: &str = "\
.verdict{font-weight:600}
.legend{display:grid;grid-template-columns:repeat(auto-fit,minmax(21rem,1fr));gap:.3rem 1.5rem;padding:0;margin:.5rem 0 0;list-style:none}
.legend li{display:flex;gap:.6rem;align-items:baseline}
.legend .claim{flex:none;width:8.6rem}
.legend b{flex:none;width:8.6rem;font-weight:600}
table.matrix{width:100%;table-layout:fixed}
.matrix thead th{position:sticky;top:0;background:var(--paper);z-index:1}
.matrix thead th:first-child{width:19%}
.matrix tbody th small{display:block;font-weight:400;color:var(--faint);line-height:1.3}
.matrix td{padding:.3rem}
.cell{border-radius:.3rem;padding:.15rem}
.claim{display:block;border-radius:.25rem;padding:.1rem .45rem;margin-bottom:.15rem;border-left:.3rem solid}
.claim small{color:var(--faint);margin-left:.4rem}
.claim.parked{background:color-mix(in srgb,var(--good) 13%,var(--paper));border-color:var(--good)}
.claim.pending{background:color-mix(in srgb,var(--open) 13%,var(--paper));border-color:var(--open)}
.claim.given{background:color-mix(in srgb,var(--accent) 13%,var(--paper));border-color:var(--accent)}
.claim.lost{background:color-mix(in srgb,var(--bad) 15%,var(--paper));border-color:var(--bad)}
.rig{display:block;color:var(--faint);font-size:.8rem;padding-left:.15rem}
.status{display:block;font-size:.8rem;padding:.1rem .15rem 0}
.status.confirmed{color:var(--good);font-weight:600}.status.unconfirmed,.status.not-measured{color:var(--faint)}
.status.contradicted{color:var(--bad);font-weight:600;outline:none}
.rig b{font-weight:600}.rig .ok{color:var(--good)}.rig .deviates{color:var(--open)}.rig .wrong{color:var(--bad)}
.rigs td:first-child{white-space:nowrap}
.contradicted{outline:3px solid var(--bad)}
.details{display:none;position:fixed;left:0;right:0;bottom:0;z-index:2;max-height:45vh;overflow-y:auto;pointer-events:none;\
background:var(--paper);border-top:2px solid var(--accent);box-shadow:0 -.3rem 1rem #0004;padding:.6rem clamp(.75rem,3vw,2.5rem)}
.details p{margin:.15rem 0;max-width:110ch}
.cell:hover .details,.cell:focus .details{display:block}
.matrix:has(.cell:hover) .cell:focus:not(:hover) .details{display:none}
.cell:hover{outline:2px solid var(--accent)}
details{margin-top:1rem}summary{cursor:pointer;color:var(--accent)}
.sources td:nth-child(5){min-width:20rem}
@media(max-width:48rem){
.matrix,.matrix tbody,.matrix tr,.matrix td,.matrix tbody th{display:block;width:auto}
.matrix thead{display:none}
.matrix tr{border-bottom:2px solid var(--line)}
.matrix tbody th{border-width:0 0 1px}
.matrix td{display:grid;grid-template-columns:6.5rem 1fr;gap:.4rem;border-width:0 0 1px;align-items:start}
.matrix td::before{content:attr(data-mechanism);font-size:.85rem;padding-top:.3rem;color:var(--faint)}
.legend{grid-template-columns:1fr}
}
@media print{.details{display:none!important}details>*{display:block}}
";

/// The page.
#[must_use]
pub fn page(document: &MatrixDocument) -> String {
    let mut body = Body::default();
    let tone = if document.agrees { "good" } else { "bad" };
    let sentences = conclusion(document);
    let (first, rest) = sentences.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    body.push(&format!("<p><span class=\"verdict {tone}\">{}</span> {}</p>\n", escape(first), escape(&rest.join(" "))));
    body.rigs(document);
    body.legend(document);
    for vendor in &document.vendors {
        body.matrix(vendor, document);
    }
    for vendor in &document.vendors {
        body.sources(vendor, document);
    }
    body.push(
        "<footer>park.matrix/1, by <code>park matrix --html</code>. Claims: docs/claims.md; knobs: docs/rules.md.</footer>",
    );
    framed(&Page {
        title: "What a parked CPU survives",
        lead: "What an event does to a CPU in a bay of a lot, by how it waits: what park claims, and what was measured by \
               executing the bytes that the CPU executes. Point at a cell, or move to it by Tab, for the citation and the \
               measurements.",
        body: &body.0,
        style: STYLE,
        script: "",
    })
}

/// The page's content so far.
#[derive(Default)]
struct Body(String);

impl Body {
    fn push(&mut self, html: &str) {
        self.0.push_str(html);
    }

    /// What measured, where it is not the simulator alone.
    fn rigs(&mut self, document: &MatrixDocument) {
        if document.rigs.len() < 2 {
            return;
        }
        self.push("<h2>What measured</h2>\n<div class=\"scroll\"><table class=\"rigs\"><tbody>\n");
        for rig in &document.rigs {
            let version = match (&rig.version, rig.evidence) {
                (Some(version), _) => version.as_str(),
                (None, Evidence::Simulator) => "park's own: its word alone confirms nothing",
                (None, Evidence::Emulator) => "says that it is under a hypervisor",
                (None, Evidence::Kernel | Evidence::Silicon) => "a machine",
            };
            let machines: Vec<String> = rig
                .machines
                .iter()
                .map(|machine| {
                    format!("{} <span class=\"faint\">({})</span>", escape(&machine.name), escape(&machine.cpu_model))
                })
                .collect();
            self.push(&format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                escape(&rig.name),
                escape(version),
                machines.join(", ")
            ));
        }
        self.push("</tbody></table></div>\n");
    }

    fn legend(&mut self, document: &MatrixDocument) {
        self.push("<h2>How to read it</h2>\n<ul class=\"legend\">\n");
        for response in Response::ALL {
            let used = |claim: &ClaimDocument| claim.response == response.name();
            if document.cells().flat_map(|cell| &cell.claims).any(used) {
                let (class, name) = (Gravity::of(response.name()).name(), response.name());
                self.push(&format!(
                    "<li><span class=\"claim {class}\">{name}</span> <span>{}</span></li>\n",
                    escape(response_text(response))
                ));
            }
        }
        for (mark, text) in [
            ("green", "still parked, and as reachable as before"),
            ("yellow", "still parked; the event, or whoever sent it, waits"),
            ("blue", "another kernel has the CPU, or may take it"),
            ("red", "the CPU or the machine is lost"),
            (
                "if the CPU is kind",
                "the manuals leave it open, and the CPU does the kinder thing; both must be reckoned with",
            ),
            ("✓ simulator", "what this rig measured is what is claimed; ✗: it is not; –: it can't show this"),
            (
                "≠ qemu: laps",
                "what this emulator does instead, for a reason that is known and named (docs/deviations.md)",
            ),
            ("(knob=value)", "a choice that the manuals leave open, and for which value of it the verdict holds"),
            ("confirmed", "an emulator that others wrote, or a machine, does what is claimed"),
            ("unconfirmed", "only park's own simulator agrees, which proves nothing about a real CPU"),
        ] {
            self.push(&format!("<li><b>{mark}</b> <span>{}</span></li>\n", escape(text)));
        }
        self.push("</ul>\n");
    }

    fn matrix(&mut self, vendor: &VendorDocument, document: &MatrixDocument) {
        self.push(&format!(
            "<h2>{}</h2>\n<table class=\"matrix\">\n<thead><tr><th scope=\"col\">event</th>",
            title(vendor)
        ));
        for mechanism in &vendor.mechanisms {
            self.push(&format!("<th scope=\"col\">{mechanism}</th>"));
        }
        self.push("</tr></thead>\n<tbody>\n");
        for event in &vendor.events {
            let text = Event::from_name(event).map_or("", event_text);
            self.push(&format!("<tr><th scope=\"row\">{event}<small>{}</small></th>\n", escape(text)));
            for mechanism in &vendor.mechanisms {
                self.push(&format!("<td data-mechanism=\"{mechanism}\">"));
                if let Some(cell) = vendor.cell(mechanism, event) {
                    self.cell(cell, document);
                }
                self.push("</td>\n");
            }
            self.push("</tr>\n");
        }
        self.push("</tbody>\n</table>\n");
    }

    fn cell(&mut self, cell: &CellDocument, document: &MatrixDocument) {
        let contradicted = if cell.status == Status::Contradicted { " contradicted" } else { "" };
        self.push(&format!("<div class=\"cell{contradicted}\" tabindex=\"0\">"));
        for claim in &cell.claims {
            let (class, when) = (Gravity::of(claim.response).name(), condition_text(claim.condition));
            let when = if when.is_empty() { String::new() } else { format!("<small>{}</small>", escape(when)) };
            self.push(&format!("<span class=\"claim {class}\">{}{when}</span>", claim.response));
        }
        let status = cell.status.name();
        self.push(&format!("<span class=\"status {status}\">{status}</span>"));
        let (quiet, telling): (Vec<_>, Vec<_>) =
            document.rigs.iter().map(|rig| told_by(cell, rig)).partition(|(_, more)| more.is_empty());
        // Those that only agree, or have nothing to tell, share a line.
        for line in [vec![quiet], telling.into_iter().map(|one| vec![one]).collect()].concat() {
            let line: Vec<String> = line.into_iter().map(|(mark, more)| mark + &more).collect();
            if !line.is_empty() {
                self.push(&format!("<span class=\"rig\">{}</span>", line.join(" · ")));
            }
        }
        self.details(cell, document);
        self.push("</div>");
    }

    /// What a cell shows on hover and focus.
    fn details(&mut self, cell: &CellDocument, document: &MatrixDocument) {
        self.push(&format!(
            "<div class=\"details\"><p><b>{} × {}</b>: {}</p>",
            cell.mechanism,
            cell.event,
            cell.status.name()
        ));
        for claim in &cell.claims {
            let when = condition_text(claim.condition);
            let when = if when.is_empty() { String::new() } else { format!(" ({})", escape(when)) };
            self.push(&format!("<p>Claimed: <b>{}</b>{when}. {}</p>", claim.response, escape(claim.source)));
        }
        for rig in &document.rigs {
            self.rig_details(cell, rig);
        }
        let notes: Vec<&str> = cell.measured.iter().filter_map(|measured| measured.note).collect();
        if let Some(note) = notes.first() {
            self.push(&format!("<p>* {}.</p>", escape(note)));
        }
        for sentence in &cell.disagreements {
            self.push(&format!("<p class=\"bad\">{}</p>", escape(sentence)));
        }
        self.push("</div>");
    }

    /// What a rig has to say about a cell.
    fn rig_details(&mut self, cell: &CellDocument, rig: &RigDocument) {
        let measured: Vec<&Measured> = cell.measured.iter().filter(|measured| measured.rig == rig.name).collect();
        let lines = verdicts(cell, &rig.name);
        if !lines.is_empty() {
            let name = escape(&rig.name);
            let how = if rig.evidence == Evidence::Simulator {
                let others: usize =
                    cell.measured.iter().filter(|other| other.rig != rig.name).map(|other| other.runs).sum();
                let varied = if cell.varied.is_empty() {
                    String::new()
                } else {
                    format!(", every value of {}", escape(&cell.varied.join(", ")))
                };
                format!(" {} runs{varied}.", cell.runs.saturating_sub(others))
            } else {
                let mut machines: Vec<&str> = Vec::new();
                machines.extend(measured.iter().flat_map(|one| &one.machines).map(String::as_str));
                if machines.is_empty() { String::new() } else { format!(" On {}.", escape(&machines.join(", "))) }
            };
            self.push(&format!("<p>Measured, {name}: {}.{how}</p>", escape(&lines.join("; "))));
        }
        for deviation in measured.iter().filter_map(|one| one.deviation.as_ref()) {
            self.push(&format!("<p class=\"open\">{DEVIATES} {}: {}.</p>", escape(&rig.name), escape(deviation)));
        }
        for one in cell.not_shown.iter().filter(|one| one.rig == rig.name && one.lack != NO_MECHANISM) {
            let on = if one.machines.is_empty() { String::new() } else { format!(" ({})", one.machines.join(", ")) };
            self.push(&format!(
                "<p class=\"faint\">Not shown, {}{}: {}.</p>",
                escape(&rig.name),
                escape(&on),
                escape(&one.why)
            ));
        }
    }

    /// The same as a list: for readers without a pointer, and for paper.
    fn sources(&mut self, vendor: &VendorDocument, document: &MatrixDocument) {
        self.push(&format!("<details><summary>{}: every claim with its source, as a list</summary>\n", title(vendor)));
        self.push(
            "<div class=\"scroll\"><table class=\"sources\"><thead><tr><th>mechanism</th><th>event</th><th>claim</th>",
        );
        for rig in &document.rigs {
            self.push(&format!("<th>{}</th>", escape(&rig.name)));
        }
        self.push("<th>source</th></tr></thead><tbody>\n");
        for cell in &vendor.cells {
            for (index, claim) in cell.claims.iter().enumerate() {
                let when = condition_text(claim.condition);
                let when = if when.is_empty() { String::new() } else { format!(", {}", escape(when)) };
                self.push(&format!(
                    "<tr><td>{}</td><td>{}</td><td>{}{when}</td>",
                    cell.mechanism, cell.event, claim.response
                ));
                for rig in &document.rigs {
                    let lines = if index == 0 { verdicts(cell, &rig.name).join("; ") } else { String::new() };
                    self.push(&format!("<td>{}</td>", escape(&lines)));
                }
                self.push(&format!("<td>{}</td></tr>\n", escape(claim.source)));
            }
        }
        self.push("</tbody></table></div></details>\n");
    }
}

fn title(vendor: &VendorDocument) -> &'static str {
    MatrixVendor::from_name(vendor.vendor).map_or("", MatrixVendor::title)
}

/// What is missing where a CPU has not the mechanism: that goes without saying.
const NO_MECHANISM: &str = LackKind::NoMechanism.name();

/// Whether all claims of a cell say the same, so that a verdict that agrees needs no name.
fn claims_one_thing(cell: &CellDocument) -> bool {
    cell.claims.first().is_some_and(|first| cell.claims.iter().all(|claim| claim.response == first.response))
}

/// A rig's mark in a cell, and what it has to tell beyond that: verdicts that the claims above have not told already.
fn told_by(cell: &CellDocument, rig: &RigDocument) -> (String, String) {
    let measured: Vec<&Measured> = cell.measured.iter().filter(|measured| measured.rig == rig.name).collect();
    let (mark, class) = if measured.is_empty() {
        ("–", "none")
    } else if measured.iter().any(|one| one.contradicts()) {
        ("✗", "wrong")
    } else if measured.iter().any(|one| one.agrees) {
        ("✓", "ok")
    } else {
        (DEVIATES, "deviates")
    };
    let lines = verdicts(cell, &rig.name);
    let told = match (lines.as_slice(), measured.first()) {
        ([_], Some(_)) if class == "ok" && claims_one_thing(cell) => String::new(),
        // The mark has said why it is other than claimed.
        ([_], Some(one)) => one.verdict.clone(),
        (lines, _) => lines.join("; "),
    };
    let more = if told.is_empty() { told } else { format!(": {}", escape(&told)) };
    (format!("<b class=\"{class}\">{mark}</b> {}", escape(&rig.name)), more)
}

/// What a rig measured, a line for each verdict.
fn verdicts(cell: &CellDocument, rig: &str) -> Vec<String> {
    let measured: Vec<&Measured> = cell.measured.iter().filter(|measured| measured.rig == rig).collect();
    told(&measured).iter().map(told_line).collect()
}
