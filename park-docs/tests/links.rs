//! Links between the repository's pages lead somewhere, and docs/README.md lists every page of docs/.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Markdown files of the repository.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable directory").filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let is_other = name == "target" || name.to_string_lossy().starts_with('.');
        if path.is_dir() && !is_other {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The page without its code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            // What stands between backticks is no link.
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The targets of `[text](target)` and `![text](target)`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

/// The anchors that a page's headings have, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().replace(' ', "-");
            kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
        })
        .collect()
}

/// What is wrong with a link of the page at `page`.
fn wrong(page: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = page.parent().unwrap_or(page).join(file);
    if !file.is_empty() && !target.exists() {
        return Some(format!("{}: {link} leads nowhere", page.display()));
    }
    let anchor = anchor?;
    let of_target =
        if file.is_empty() { text.to_owned() } else { std::fs::read_to_string(&target).unwrap_or_default() };
    (!anchors(&of_target).contains(anchor)).then(|| format!("{}: {link}: no such heading", page.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    pages(&root(), &mut found);
    let mut count = 0;
    let mut broken = Vec::new();
    for page in &found {
        let text = std::fs::read_to_string(page).expect("a readable page");
        for link in links(&prose(&text)) {
            count += 1;
            broken.extend(wrong(page, &text, &link));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(found.len() > 5 && count > 20, "{} pages with {count} links: were they read?", found.len());
}

#[test]
fn broken_links_are_seen() {
    let page = root().join("docs/README.md");
    assert!(wrong(&page, "", "no-such-page.md").is_some());
    assert!(wrong(&page, "# One\n", "#two").is_some());
    assert_eq!(wrong(&page, "# One: two\n", "#one-two"), None);
    assert_eq!(links(&prose("a [b](c.md) `[d](e.md)`\n```\n[f](g.md)\n```\n![h](i.svg)")), ["c.md", "i.svg"]);
}

#[test]
fn every_page_of_docs_is_listed() {
    let docs = root().join("docs");
    let index = std::fs::read_to_string(docs.join("README.md")).expect("docs/README.md");
    let listed: BTreeSet<String> = links(&prose(&index)).into_iter().collect();
    for entry in std::fs::read_dir(&docs).expect("docs").filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" {
            assert!(listed.contains(&name), "docs/README.md does not list {name}: add a line");
        }
    }
}
