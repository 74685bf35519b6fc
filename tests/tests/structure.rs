//! The runtime's rooms depend on each other in one direction.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::{Path, PathBuf};

/// Rooms, lowest first: a room uses only those before it in this list.
const ROOMS: [&str; 13] = [
    "config",
    "panel",
    "tensor",
    "text",
    "image",
    "slots",
    "kernels",
    "format",
    "signature",
    "memory",
    "model",
    "routing",
    "executor",
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
    for (index, room) in ROOMS.iter().enumerate() {
        let path = root.join(room);
        let path = if path.is_dir() { path } else { root.join(format!("{room}.rs")) };
        for file in sources(&path) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code.filter(|line| line.contains("crate::")) {
                let used = line.split("crate::").nth(1).unwrap_or("");
                uses += 1;
                let mut below = ROOMS.iter().take(index + 1);
                let fits = below.any(|other| used.starts_with(other));
                assert!(fits, "{}: {line}", file.display());
            }
        }
    }
    assert!(uses > 30, "the test read {uses} uses: the rooms have moved");
}
