//! `include/coda.h` is what cbindgen makes of this crate.

use std::path::Path;

/// Set to write the header instead of comparing it.
const UPDATE: &str = "CODA_UPDATE_HEADER";

#[test]
fn the_committed_header_is_that_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["abi", "types", "status", "flash", "updates", "answers", "generation"] {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let path = root.join("include/coda.h");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(
        committed == made,
        "coda.h is out of date: {UPDATE}=1 cargo test -p coda-capi --test header"
    );
}
