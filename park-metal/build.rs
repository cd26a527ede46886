//! Hands the linker what a freestanding image needs, for that image only.
//!
//! Without the feature `image` nothing is printed, so that `cargo test --workspace` and `cargo clippy --workspace`
//! link this package like any other.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let script = format!("-Wl,-T,{directory}/link.ld");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        // rustc passes -pie first; the later option wins. The 32-bit entry holds absolute 32-bit relocations.
        "-no-pie",
        "-Wl,--build-id=none",
        // Segments need no more than page alignment; 2 MiB would leave holes below the page pool.
        "-Wl,-z,max-page-size=0x1000",
        "-Wl,-z,noexecstack",
        &script,
    ] {
        println!("cargo:rustc-link-arg-bin=park-metal={argument}");
    }
}
