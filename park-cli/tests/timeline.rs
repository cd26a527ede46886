//! Timelines: drawings that stand alone, are well formed, the same each time, and show what the run's document says.

use park_cli::sim::document::{SimDocument, SimRequest, simulate};
use park_cli::sim::picture::picture;
use park_cli::sim::source::load;
use park_cli::timeline::{html, svg};
use park_sim::scenario::{Record, names};
use std::fs;
use std::path::Path;
use std::process::Command;

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

/// The command that draws the picture in README.md; `--svg` and its file follow.
const README_PICTURE: &str = "demo --topology 1x4x1 --seed 1";

/// To draw it anew: `cargo run -- demo --topology 1x4x1 --seed 1 --svg docs/timeline.svg`.
#[test]
fn the_readme_s_picture_and_table_are_what_their_command_draws_and_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kept = fs::read_to_string(root.join("docs/timeline.svg")).unwrap_or_default();
    let file = std::env::temp_dir().join(format!("park-timeline-{}.svg", std::process::id()));
    let park =
        Command::new(env!("CARGO_BIN_EXE_park")).args(README_PICTURE.split(' ')).arg("--svg").arg(&file).output();
    assert!(park.as_ref().is_ok_and(|output| output.status.success()), "{park:?}");
    let printed = park.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let drawn = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    assert_eq!(unbalanced(&drawn), Vec::<String>::new());
    assert!(kept == drawn, "docs/timeline.svg is not what `park {README_PICTURE} --svg docs/timeline.svg` draws");
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    assert!(readme.contains("(docs/timeline.svg)") && readme.contains(README_PICTURE), "README.md lacks the picture");
    // So is what it prints, from the table's head to its end.
    let table: String = printed
        .lines()
        .skip_while(|line| !line.starts_with("CPU "))
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(table.lines().count() > 4 && readme.contains(&table), "README.md does not show this:\n{table}");
    // Both ways are in it: CPUs that are lost, and CPUs that are not.
    assert!(drawn.contains("class=\"death\"") && drawn.contains("s-shutdown") && drawn.contains("s-lot-"));
}

#[test]
fn files_that_can_t_be_written_are_errors_and_nothing_is_printed() {
    for option in ["--svg", "--html"] {
        for (file, named) in [("/nowhere/x", "/nowhere/x"), ("/tmp", "directory")] {
            let park = Command::new(env!("CARGO_BIN_EXE_park")).args(["sim", "lot-hlt", option, file]).output();
            let Ok(output) = park else { panic!("{park:?}") };
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
            assert!(said.contains(named) && said.lines().count() == 1, "{said}");
        }
    }
}

#[test]
fn a_sweep_shows_the_run_that_decides() {
    let knobs = park_cli::sim::knobs::KnobRequest::read(&["mc-gif0=all".to_owned()]);
    let Ok(knobs) = knobs else { panic!("{knobs:?}") };
    let request = SimRequest { seed: 1, record: Record::On, knobs, ..SimRequest::default() };
    let document = load("clgi-mce").and_then(|scenario| simulate(&scenario, &request));
    let Ok(document) = document else { panic!("{document:?}") };
    assert!(document.run.recording.is_some() && document.runs.iter().all(|run| run.recording.is_none()));
    let (svg, _) = drawn(&document);
    assert!(svg.contains("--knob mc-gif0=pend") && svg.contains("SAFE"), "{svg}");
}
