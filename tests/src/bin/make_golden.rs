//! Writes the golden packages of this format version, if they are not there.
//!
//! A released version's golden files are never made again: a package in the field must keep its
//! answers. Before the first release, delete answers (`.json`) whose change has a
//! reason; of an older version's, empty their list.

fn main() -> anyhow::Result<()> {
    let mut written = coda_tests::tiny::golden::write_missing()?;
    written.extend(coda_tests::writers::write_missing()?);
    for name in &written {
        println!("wrote {name}");
    }
    println!("{} written, the rest was there", written.len());
    Ok(())
}
