//! The generated pages in the repository are what the crates' tables say.

#[test]
fn pages_are_current() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in park_docs::pages() {
        let found = std::fs::read_to_string(docs.join(page.name)).unwrap_or_default();
        assert!(found == page.text, "docs/{} is stale: run `cargo run -p park-docs`", page.name);
    }
}

#[test]
fn the_table_in_the_readme_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let current = park_docs::readme(&found).expect("the lines between which the table stands");
    assert!(found == current, "README.md is stale: run `cargo run -p park-docs`");
}
