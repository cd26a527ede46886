//! Timelines: drawings that stand alone, are well formed, the same each time, and show what the run's document says.

use park_cli::sim::document::{SimDocument, SimRequest, simulate};
use park_cli::sim::picture::picture;
use park_cli::sim::source::load;
use park_cli::timeline::{html, svg};
use park_sim::scenario::{Record, names};

fn played(name: &str) -> SimDocument {
    let request = SimRequest { seed: 1, record: Record::On, ..SimRequest::default() };
    match load(name).and_then(|scenario| simulate(&scenario, &request)) {
        Ok(document) => document,
        Err(failure) => panic!("{name}: {failure}"),
    }
}

fn drawn(document: &SimDocument) -> (String, String) {
    match picture(document) {
        Ok(picture) => (svg(&picture), html(&picture)),
        Err(failure) => panic!("{}: {failure}", document.scenario),
    }
}

/// The elements that are open at the end, or the first that does not match: of markup in which every element is closed.
fn unbalanced(markup: &str) -> Vec<String> {
    let mut open = Vec::new();
    for part in markup.split('<').skip(1) {
        let Some((tag, rest)) = part.split_once('>') else { return vec![format!("<{part} has no end")] };
        assert!(!rest.contains('&') || rest.split('&').skip(1).all(|entity| entity.contains(';')), "{rest}");
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
        if tag.starts_with('/') {
            if open.pop().as_deref() != Some(name.as_str()) {
                return vec![format!("</{name}> closes something else")];
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open
}

#[test]
fn every_scenario_is_drawn_well_formed_and_stands_alone() {
    for name in names() {
        let document = played(name);
        let (svg, html) = drawn(&document);
        assert_eq!(unbalanced(&svg), Vec::<String>::new(), "{name}");
        for foreign in ["<script", "href=", "@import", "<image", "NaN", "inf\""] {
            assert!(!svg.contains(foreign), "{name}: {foreign}");
        }
        // The one address is the name space, which nobody fetches; the one reference is the drawing's own hatching.
        assert_eq!(svg.matches("http").count(), 1, "{name}");
        assert!(svg.split("url(").skip(1).all(|target| target.starts_with("#hatch")), "{name}");
        assert!(html.split("url(").skip(1).all(|target| target.starts_with("#hatch")), "{name}");
        for foreign in ["http", "src=", "href=", "@import", "NaN"] {
            assert!(!html.contains(foreign), "{name}: {foreign}");
        }
        assert!(html.contains("prefers-color-scheme:dark") && svg.contains("prefers-color-scheme:dark"));
    }
}

#[test]
fn a_picture_says_what_the_document_says() {
    for name in ["linux-mwait-kexec", "linux-hlt-kexec-nmi", "lot-hlt", "init-broadcast-mce", "clgi-mce"] {
        let document = played(name);
        let (svg, html) = drawn(&document);
        for cpu in &document.run.cpus {
            assert!(svg.contains(&format!(">CPU {}</text>", cpu.cpu)), "{name}");
            let fate = park_cli::page::escape(&park_cli::sim::words::fate(cpu));
            assert!(html.contains(&fate) && svg.contains(&fate), "{name}: {fate}");
        }
        let Some(recording) = &document.run.recording else { panic!("{name}: not recorded") };
        for interval in recording.lanes.iter().flat_map(|lane| &lane.intervals) {
            let class = format!("class=\"state s-{}\"", interval.state.name());
            assert!(svg.contains(&class) && html.contains(&class), "{name}: {class}");
        }
        let deaths = recording.lanes.iter().filter(|lane| lane.death.is_some()).count();
        assert_eq!(svg.matches("class=\"death\"").count(), deaths, "{name}");
        assert_eq!(svg.matches("class=\"front\"").count(), recording.fronts.len(), "{name}");
        assert!(svg.contains("RIP ") && svg.contains("RSP "), "{name}");
        for act in &recording.acts {
            assert!(html.contains(&park_cli::page::escape(&act.what)), "{name}: {}", act.what);
        }
    }
}

#[test]
fn a_dying_cpu_shows_its_last_instruction_and_registers() {
    let document = played("linux-mwait-kexec");
    let (svg, html) = drawn(&document);
    let Some(death) = document.run.recording.as_ref().and_then(|recording| recording.lanes[1].death.clone()) else {
        panic!("CPU 1 lives")
    };
    let rip = format!("RIP    {:#018x}", death.registers.rip);
    for drawing in [&svg, &html] {
        assert!(drawing.contains("runs `int3` at 0x") && drawing.contains("overwritten"), "{drawing}");
        assert!(drawing.contains(&rip), "{rip}");
    }
}

#[test]
fn equal_runs_give_equal_bytes() {
    assert_eq!(drawn(&played("lot-hlt")), drawn(&played("lot-hlt")));
}
