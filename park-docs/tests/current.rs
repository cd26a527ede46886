//! The generated pages in the repository are what the crates' tables say.

#[test]
fn pages_are_current() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in park_docs::pages() {
        let found = std::fs::read_to_string(docs.join(page.name)).unwrap_or_default();
        assert!(found == page.text, "docs/{} is stale: run `cargo run -p park-docs`", page.name);
    }
}
