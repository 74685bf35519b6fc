//! Adds a self-test to a package that is there: inputs, and their answers to the bit.

use super::writer::{PackError, Writer};
use crate::bytes::PackageBytes;
use coda_runtime::format::{Package, SectionKind, SelfTestCase, encode_self_test, header, section};
use std::ops::Range;

/// The same package with these cases as its self-test, in place of one that it had. Another content id,
/// so of a base: another base.
///
/// # Errors
/// [`PackError::Format`] for cases that no reader takes: none or too many, inputs of two kinds, an answer
/// that is empty or not finite; and for a bundle, whose task carries the self-test.
pub fn with_self_test(
    package: &Package<'_>,
    cases: &[SelfTestCase<'_>],
) -> Result<PackageBytes, PackError> {
    let mut writer = Writer::new(package.kind(), package.base_id());
    for (kind, skippable, body) in sections(package.bytes()) {
        if kind != SectionKind::SelfTest as u16 {
            writer.raw(kind, skippable, body.to_vec());
        }
    }
    writer.section(SectionKind::SelfTest, encode_self_test(cases).collect());
    writer.finish()
}

/// Kind, whether it may be skipped, and the bytes of every section of a package that was parsed.
fn sections(bytes: &[u8]) -> impl Iterator<Item = (u16, bool, &[u8])> {
    let word = |bytes: &[u8], at: Range<usize>| {
        bytes[at].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    let count = word(bytes, header::SECTIONS);
    let table = bytes[header::LENGTH_BYTES..].chunks_exact(section::ENTRY_BYTES).take(count);
    table.map(move |entry| {
        let start = word(entry, section::OFFSET);
        let body = &bytes[start..start + word(entry, section::LENGTH)];
        let skippable = word(entry, section::FLAGS) == usize::from(section::SKIPPABLE);
        (word(entry, section::KIND) as u16, skippable, body)
    })
}
