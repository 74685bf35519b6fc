//! Where the files of `firmware-files DIR` are: in `CODA_FIRMWARE`, else in `target/firmware`.

#[path = "../named.rs"]
mod named;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    named::directory("CODA_FIRMWARE", "firmware", "firmware-files")
}
