//! What `train` and `pretrain` are given.

use coda_converter::source::Tower;
use coda_trainer::data::Reading;
use coda_trainer::number::number;
use coda_trainer::settings::Settings;
use std::path::PathBuf;

/// What to train with.
#[derive(Debug, clap::Args)]
pub(crate) struct Training {
    /// The base: a Hugging Face directory
    #[arg(long, value_name = "DIR")]
    pub(super) base: PathBuf,
    /// Which encoder of several is trained; `encoder`: that of a model that writes, to choose labels
    #[arg(long, value_enum)]
    pub(super) tower: Option<Tower>,
    /// TSV or CSV of label and text or pair of texts, IDX images, safetensors of token ids, or a folder of class folders;
    /// of a model that writes, TSV or CSV of the right answer and the text or picture file
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,
    /// IDX labels, if they are not found beside the images
    #[arg(long, value_name = "FILE")]
    pub(super) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Test data of the same kind, looked at once at the end
    #[arg(long, value_name = "FILE")]
    pub(super) test: Option<PathBuf>,
    /// Reduction factors of the test
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0], value_parser = number::<f32>)]
    pub(super) test_reductions: Vec<f32>,
    /// Where the result, `training.json`, `curves.svg` and the checkpoint go
    #[arg(long, short, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// A task to begin with, for instance a parallel adapter or a pretrained task
    #[arg(long, value_name = "FILE")]
    pub(super) init: Option<PathBuf>,
    /// A parallel adapter to learn from; several, one option each, teach the mean of their answers
    #[arg(long, value_name = "FILE")]
    pub(super) teacher: Vec<PathBuf>,
    /// File of the teachers' answers to the texts, for many trainings: read if it is there, written at
    /// the end
    #[arg(long, value_name = "FILE")]
    pub(super) answers: Option<PathBuf>,
    /// The base has no weights yet: begin with random ones
    #[arg(long)]
    pub(super) from_scratch: bool,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(super) checkpoint_every: u64,
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Gone; it says so for one release
    #[arg(long, hide = true, value_name = "REMOVED", value_parser = refuse_pooled_keys)]
    pub(super) pooled_keys: Option<String>,
}

fn refuse_pooled_keys(_: &str) -> Result<String, String> {
    Err("removed in 0.2: no task could be written with it; low-rank keys (--attention k-to-low-rank) \
         are as accurate"
        .to_owned())
}
