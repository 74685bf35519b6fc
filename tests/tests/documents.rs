//! What documents and comments point at is there.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_tests::source::{root, tracked};
use std::collections::BTreeSet;
use std::path::Path;

fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of a Markdown text outside its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim())
}

/// The anchor that a heading has on a page.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of `[words](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = prose(text).flat_map(|line| line.split("](").skip(1));
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Why the link of `document` leads nowhere.
fn broken(document: &Path, link: &str) -> Option<String> {
    let (path, name) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => document.to_owned(),
        path => document.parent().unwrap().join(path),
    };
    if !root().join(&target).exists() {
        return Some(format!("{}: no file {link}", document.display()));
    }
    let found = name.is_empty() || headings(&text(&target)).any(|heading| anchor(heading) == name);
    (!found).then(|| format!("{}: no heading {link}", document.display()))
}

#[test]
fn every_relative_link_of_a_document_leads_to_a_file_and_a_heading() {
    let (mut links_read, mut faults) = (0, Vec::new());
    for document in tracked(root(), ".md").unwrap() {
        for link in links(&text(&document)).filter(|link| !link.contains("://")) {
            links_read += 1;
            faults.extend(broken(&document, link));
        }
    }
    println!("{links_read} links");
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links_read > 20, "the test read {links_read} links");
}

#[test]
fn every_file_that_the_guide_names_is_there() {
    let guide = text(Path::new("docs/adding.md"));
    let words = prose(&guide).flat_map(|line| line.split('`').skip(1).step_by(2));
    let folders = ["runtime/", "converter/", "targets/", "tests/", "benches/", "docs/"];
    let named = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    let paths = named.map(|word| word.split(' ').next().unwrap_or(word));
    let paths: BTreeSet<&str> = paths.filter(|path| !path.contains("NAME")).collect();
    let lost: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    println!("{} files", paths.len());
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(paths.len() > 20, "the test read {} files", paths.len());
}

/// The headings of `docs/method.md` that a text cites, as `docs/method.md`, "Heading"; a line of
/// comment may end anywhere between the words. `None` for a citation without a heading.
fn citations(text: &str) -> Vec<Option<String>> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#']).trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    let ends = text.split("`docs/method.md`").skip(1);
    let heading = |rest: &str| Some(rest.strip_prefix(", \"")?.split_once('"')?.0.to_owned());
    ends.map(heading).collect()
}

#[test]
fn every_citation_of_the_method_names_a_heading_that_exists() {
    let method = text(Path::new("docs/method.md"));
    let headings: BTreeSet<&str> = headings(&method).collect();
    let (mut cited, mut faults) = (0, Vec::new());
    for ending in [".rs", ".py", ".sh"] {
        for path in tracked(root(), ending).unwrap() {
            if path.ends_with(file!()) {
                continue;
            }
            for heading in citations(&text(&path)) {
                cited += 1;
                if heading.as_ref().is_none_or(|heading| !headings.contains(heading.as_str())) {
                    faults.push(format!("{}: {heading:?}", path.display()));
                }
            }
        }
    }
    println!("{cited} citations");
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(cited > 10, "the test read {cited} citations");
}

#[test]
fn a_broken_link_and_a_citation_of_no_heading_are_found() {
    let document = Path::new("docs/method.md");
    assert_eq!(broken(document, "../README.md"), None);
    assert_eq!(broken(document, "#soft-top-k"), None);
    assert!(broken(document, "../READYOU.md").is_some());
    assert!(broken(document, "#hard-top-k").is_some());
    assert_eq!(links("[a](b.md#c) and\n```\n[d](e)\n```\n").collect::<Vec<_>>(), ["b.md#c"]);
    let cited = "//! as `docs/method.md`, \"Soft\n//! top-k\" and `docs/method.md` say";
    assert_eq!(citations(cited), [Some("Soft top-k".to_owned()), None]);
}
