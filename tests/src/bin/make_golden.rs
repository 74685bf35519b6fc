//! Writes the golden packages of this format version, if they are not there.
//!
//! Golden files of a version are never regenerated: a package in the field must keep its answers.

fn main() -> anyhow::Result<()> {
    let written = coda_tests::tiny::golden::write_missing()?;
    for name in &written {
        println!("wrote {name}");
    }
    println!("{} written, the rest was there", written.len());
    Ok(())
}
