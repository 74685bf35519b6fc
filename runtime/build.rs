//! Says which family of Arm cores the target is for: stable Rust tells the code only `arm`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    for (name, triples) in [
        ("armv7_a", &["armv7-", "armv7a-", "thumbv7neon-", "thumbv7a-"][..]),
        ("cortex_m", &["thumbv7em-", "thumbv8m.main-"][..]),
        ("cortex_m_v8", &["thumbv8m.main-"][..]),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if triples.iter().any(|triple| target.starts_with(triple)) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
