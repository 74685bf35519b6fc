//! A small map of characters as SentencePiece stores them.

use std::collections::BTreeMap;

/// What becomes what; a key may begin with another.
const ENTRIES: [(&str, &str); 14] = [
    ("ﬁ", "fi"),
    ("Ａ", "A"),
    ("™", "TM"),
    ("½", "1\u{2044}2"),
    ("²", "2"),
    ("e\u{301}", "é"),
    ("\u{200b}", ""),
    ("\u{7f}", ""),
    ("\t", " "),
    ("\n", " "),
    ("\r", " "),
    ("\u{a0}", " "),
    ("\u{3000}", " "),
    ("ｶﾞ", "ガ"),
];

/// Positions of a block: children of a node lie in one of their own.
const BLOCK: usize = 256;

#[derive(Default)]
struct Node {
    value: Option<usize>,
    children: BTreeMap<u8, Node>,
}

/// The map: the length of a double array, the array, and texts that each end with a zero.
#[must_use]
pub fn charsmap() -> Vec<u8> {
    let (mut root, mut texts) = (Node::default(), String::new());
    for (key, text) in ENTRIES {
        let mut node = &mut root;
        for byte in key.bytes() {
            node = node.children.entry(byte).or_default();
        }
        node.value = Some(texts.len());
        texts.push_str(text);
        texts.push('\0');
    }
    let mut units = vec![0; BLOCK];
    place(&root, 0, &mut units);
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit: &u32| unit.to_le_bytes()));
    bytes.extend(texts.bytes());
    bytes
}

/// Places what is below a node at `at`.
fn place(node: &Node, at: usize, units: &mut Vec<u32>) {
    let block = units.len();
    units.resize(block + BLOCK, 0);
    units[at] |= ((at ^ block) as u32) << 10;
    if let Some(value) = node.value {
        units[at] |= 1 << 8;
        units[block] = 1 << 31 | value as u32;
    }
    for (byte, child) in &node.children {
        let own = block ^ usize::from(*byte);
        units[own] = u32::from(*byte);
        place(child, own, units);
    }
}
