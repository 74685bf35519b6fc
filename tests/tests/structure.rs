//! The runtime's rooms depend on each other in one direction.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::{Path, PathBuf};

/// Rooms and the rooms they may use.
const ROOMS: [(&str, &[&str]); 11] = [
    ("tensor", &[]),
    ("text", &[]),
    ("slots", &[]),
    ("signature", &["format"]),
    (
        "kernels",
        &[
            "tensor",
            "model::config",
            "format::PANEL",
            "format::INT4_GROUP",
            "format::INT4_GROUP_BYTES",
        ],
    ),
    ("image", &["model::config"]),
    ("format", &["text", "image", "model::config"]),
    ("memory", &["kernels", "tensor"]),
    ("model", &["format", "image", "kernels", "memory", "text"]),
    ("routing", &["kernels", "model"]),
    ("executor", &["image", "kernels", "memory", "model", "routing", "tensor", "format"]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|entry| sources(&entry)).collect()
}

#[test]
fn no_room_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src");
    let mut uses = 0;
    for (room, allowed) in ROOMS {
        let path = root.join(room);
        let path = if path.is_dir() { path } else { root.join(format!("{room}.rs")) };
        for file in sources(&path) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code.filter(|line| line.contains("crate::")) {
                let used = line.split("crate::").nth(1).unwrap_or("");
                uses += 1;
                let own = used.starts_with(room);
                let fits = own || allowed.iter().any(|other| used.starts_with(other));
                assert!(fits, "{}: {line}", file.display());
            }
        }
    }
    assert!(uses > 30, "the test read {uses} uses: the rooms have moved");
}
