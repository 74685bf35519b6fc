//! `coda run`: one input through a package, two texts compared, or many texts.

use super::head::{embeds, label_name, print_readings, prompted, readings};
use super::shared::{
    Compute, PackageFiles, check_reduction, no_routing, print_notes, reads, reads_sound, threads,
};
use super::tokens::{print_token_labels, token_labels, token_labels_in_line};
use super::transcribe::{self, HearingArguments};
use super::write::{Shown, WriteArguments, ids, print_reserved, print_times, to_json};
use anyhow::{Context, Result, bail, ensure};
use coda_converter::answer::Writer;
use coda_converter::calibrate::Costs;
use coda_converter::dataset::{Encoder, SampleInput, read_file, reads_images};
use coda_converter::draw::{self, Trace};
use coda_converter::grid::Patches;
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::similarity;
use coda_converter::picture;
use coda_converter::preparation::Preparation;
use coda_converter::rows::lines;
use coda_converter::say::escaped;
use coda_converter::session::Session;
use coda_converter::sound::{self, Heard};
use coda_converter::timeline::{Timeline, trace_events};
use coda_converter::{say, warn};
use coda_runtime::audio;
use coda_runtime::config::{Embedding, HeadKind};
use coda_runtime::executor::{Observer, largest};
use coda_runtime::image::PatchGrid;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, DeadlineChoice, Selection, token_step};
use coda_runtime::tensor::Matrix;
use coda_runtime::text::Encoding;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Run one text, image or list of token ids, or every text of a file
///
/// Two texts (`--text` twice) are a pair for a classifier. A model that gives embeddings reads each by
/// itself and says how close they are, by the similarity that its directory names: cosine unless that says
/// dot, euclidean or manhattan (distances are negative). `--prompt` twice gives each text its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    files: PackageFiles,
    #[command(flatten)]
    input: InputArguments,
    /// Reduction factor r: k = ceil(n / r) tokens pass each routed layer; the task's if not given
    #[arg(long, value_name = "R", conflicts_with = "selected", allow_negative_numbers = true)]
    reduction: Option<f32>,
    /// k itself: so many tokens pass each routed layer
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    selected: Option<i64>,
    /// The old spelling of `--selected`
    #[arg(
        long,
        hide = true,
        value_name = "K",
        allow_negative_numbers = true,
        conflicts_with_all = ["selected", "reduction", "deadline_ms"]
    )]
    tokens: Option<i64>,
    /// As many tokens as are done within so many milliseconds (`coda bench --calibrate` first)
    #[arg(long, value_name = "MS", conflicts_with_all = ["reduction", "selected"])]
    deadline_ms: Option<f64>,
    /// The prompt of the package that is put before each text, by name; "" for none. Given twice, that of
    /// each of two texts that are compared, as of a query and a document
    #[arg(long, value_name = "NAME", conflicts_with_all = ["image", "image_resized", "patches", "audio", "features", "ids"])]
    prompt: Vec<String>,
    /// Read only as many positions as a sound fills, without silence behind it: for models that were trained so
    #[arg(long, requires = "audio")]
    unpadded: bool,
    #[command(flatten)]
    hearing: HearingArguments,
    /// Draw the tokens or patches routed in each layer
    #[arg(long, conflicts_with = "texts")]
    trace: bool,
    /// Write when each stage ended, in the form that Perfetto and the tracing pages of browsers open
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    profile: Option<PathBuf>,
    /// Print one JSON object; with --texts one for each text, a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writing: WriteArguments,
    #[command(flatten)]
    compute: Compute,
}

/// The input: exactly one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct InputArguments {
    /// A text; given twice, a pair of texts, or two embeddings that are compared
    #[arg(long)]
    text: Vec<String>,
    /// A file of texts, one a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// An image file: PNG, JPEG or PGM
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// An image file that is resized and cut as the base's `preprocessor_config.json` says
    #[arg(long, value_name = "FILE")]
    image_resized: Option<PathBuf>,
    /// Values of patches as the model's projection reads them, little-endian f32: those of a spectrogram, or
    /// of an image that was prepared elsewhere; for a model of images of any size each with its row and
    /// column before it, counted from 1
    #[arg(long, value_name = "FILE")]
    patches: Option<PathBuf>,
    /// A sound file: WAV, FLAC, MP3 or Ogg Vorbis, of any rate and channels
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// Log-mel features of sound, little-endian f32: frame after frame, as many as the sound has or as a window
    /// that is filled with silence
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Token ids
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',')]
    ids: Vec<u32>,
}

/// An input that was read.
struct Given {
    input: SampleInput,
    /// Tokens of the text before it was cut.
    total: usize,
    /// That it was cut, or how an image was read.
    note: Option<String>,
}

/// The answer of a run.
struct Answer {
    values: Vec<f32>,
    choice: Option<DeadlineChoice>,
    trace: Trace,
    milliseconds: f64,
}

/// What an inference selected, and when.
struct Seen {
    trace: Trace,
    timeline: Timeline,
}

impl Observer for Seen {
    fn embedded(&mut self, hidden: Matrix<'_>) {
        self.timeline.embedded(hidden);
    }

    fn selected(&mut self, layer: usize, selection: &Selection<'_>) {
        self.trace.selected(layer, selection);
    }

    fn layer(&mut self, layer: usize, hidden: Matrix<'_>) {
        self.timeline.layer(layer, hidden);
    }
}

impl Run {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(path) = &self.profile {
            let inputs: Vec<&Path> = self.files.packages.iter().map(PathBuf::as_path).collect();
            check_output(path, &inputs)?;
        }
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        if model.decoder().is_some() {
            return self.write(&model, &self.files.preparation(&files)?);
        }
        self.writing.refuse_without_decoder()?;
        ensure!(
            model.head().is_some(),
            "the package has no head, so it has no answer: give a task for it, or pack a model with \
             a classifier or a pooling"
        );
        let prompts = self.prompts(&model)?;
        if let Some(path) = &self.input.texts {
            return self.run_texts(&model, path, prompts[0]);
        }
        if let ([first, second], true) = (&self.input.text[..], embeds(&model)) {
            return self.compare(&model, [(first, prompts[0]), (second, prompts[1])]);
        }
        let how = self.files.preparation(&files)?;
        let given = self.read_input(&model, prompts[0], &how)?;
        let mut session = self.session(&model, given.input.tokens(&model))?;
        let answer = self.infer(&model, &mut session, &given.input)?;
        if self.json {
            say!("{}", self.to_json(&model, &given, &answer)?);
            return Ok(());
        }
        print_notes(&self.notes(&model, &given));
        match token_labels(&model, &given.input, &answer.values) {
            Some(found) => print_token_labels(&found),
            None => print_values(&model, &answer.values),
        }
        self.print_run(&model, &given, &answer)
    }

    /// The answer of a model that writes, or those of every line of a file.
    fn write(&self, model: &Model<'_>, how: &Preparation) -> Result<()> {
        let prompts = self.prompts(model)?;
        let speech = model.decoder().is_some_and(|decoder| decoder.speech().is_some());
        if let Some(path) = self.input.audio.as_ref().filter(|_| speech) {
            return self.transcribe(model, path);
        }
        self.hearing.refuse()?;
        let given = match &self.input.texts {
            None => vec![self.read_input(model, prompts[0], how)?],
            Some(path) => read_texts(model, path, prompts[0])?,
        };
        let tokens = given.iter().map(|own| own.input.tokens(model)).max().unwrap_or(0);
        let mut writer = self.writer(model, tokens, self.writing.beams)?;
        for own in &given {
            self.write_one(model, &mut writer, own)?;
        }
        Ok(())
    }

    /// A writer for inputs of at most so many tokens.
    fn writer<'m>(
        &self,
        model: &'m Model<'m>,
        tokens: usize,
        beams: Option<usize>,
    ) -> Result<Writer<'m>> {
        let decoder = model.decoder().context("the model has no decoder")?;
        let answer = WriteArguments { beams, longest: self.writing.longest };
        let (kernels, capacity) = (self.compute.kernels()?, answer.capacity(&decoder)?);
        let threads = self.compute.threads();
        let writer = Writer::new(model, kernels, Capacity::any_budget(tokens), capacity, threads)?;
        Ok(match self.deadline_ms {
            Some(_) => {
                let costs = self.costs()?;
                let answer = costs.answer.context(
                    "the costs beside the package are of the encoder alone: run `coda bench --calibrate` \
                     again",
                )?;
                writer.with_costs(costs.model(), answer.model())
            }
            None => writer,
        })
    }

    /// A sound as words, window by window where it is longer than the model reads.
    fn transcribe(&self, model: &Model<'_>, path: &Path) -> Result<()> {
        let context = if self.unpadded { audio::Context::Exact } else { audio::Context::Padded };
        let sound = sound::read(path, transcribe::LONGEST)?;
        let most = model.max_tokens().unwrap_or(0);
        let exact = sound.samples.len().div_ceil(audio::POSITION).min(most);
        let tokens = if self.unpadded { exact } else { most };
        ensure!(
            self.writing.beams.is_none_or(|beams| beams == 1),
            "sound is written with one hypothesis: leave --beams out"
        );
        let mut writer = self.writer(model, tokens, Some(1))?;
        let mut trace = Trace::default();
        let shown = Shown::new(model, !self.json);
        let how = self.hearing.how(self.writing.longest, context);
        let asked = transcribe::Asked { how, json: self.json };
        let budget = |tokens| self.budget(tokens);
        let found = asked.run(&mut writer, &sound, shown, budget, &mut trace)?;
        let cut = sound.cut.then(|| transcribe::CUT.to_owned());
        let first = found.windows.first().map_or(0, |window| window.positions);
        let given = Given { input: SampleInput::Features(Vec::new()), total: first, note: cut };
        let notes = self.notes(model, &given).into_iter().chain(transcribe::notes(&found));
        let notes = notes.collect::<Vec<_>>();
        if self.json {
            say!("{}", transcribe::to_json(&found, &notes, self.trace.then_some(&trace)));
            return Ok(());
        }
        print_notes(&notes);
        transcribe::print(&found, self.compute.kernels()?.name);
        Ok(())
    }

    fn read_input(
        &self,
        model: &Model<'_>,
        prompt: Option<&str>,
        how: &Preparation,
    ) -> Result<Given> {
        let Some(path) = &self.input.audio else { return self.input.read(model, prompt, how) };
        ensure!(reads_sound(model), "{}", reads(model));
        let context = if self.unpadded { audio::Context::Exact } else { audio::Context::Padded };
        let Heard { input, note } = sound::read_for(path, model, context)?;
        Ok(Given { total: input.tokens(model), input, note })
    }

    fn write_one(&self, model: &Model<'_>, writer: &mut Writer<'_>, given: &Given) -> Result<()> {
        let budget = self.budget(given.input.tokens(model))?;
        let mut trace = Trace::default();
        let (input, search) = (given.input.as_input(), self.writing.search());
        let one = writer.plan().answer().beams == 1;
        let mut shown = Shown::new(model, one && !self.json);
        let answer = writer.run(input, budget, &search, &mut trace, |tokens| shown.grow(tokens))?;
        let text = shown.finish(&answer.tokens)?;
        if self.json {
            let mut fields = to_json(&answer, text.as_deref());
            fields["tokens"] = json!(given.input.tokens(model));
            fields["notes"] = json!(self.notes(model, given));
            fields["selected"] = json!(self.trace.then_some(&trace.layers));
            fields["choice"] = json!(answer.choice.as_ref().map(choice_fields));
            say!("{fields}");
            return Ok(());
        }
        if !one {
            say!("{}", text.unwrap_or_else(|| ids(&answer.tokens)));
        }
        if self.input.texts.is_some() {
            return Ok(());
        }
        print_notes(&self.notes(model, given));
        print_times(given.input.tokens(model), self.compute.kernels()?.name, &answer);
        answer.choice.iter().for_each(print_choice);
        print_reserved(&answer);
        if self.trace {
            say!("{}", drawing(model, &given.input, &trace).trim_end());
        }
        Ok(())
    }

    /// How an input was run.
    fn print_run(&self, model: &Model<'_>, given: &Given, answer: &Answer) -> Result<()> {
        let (tokens, kernels) = (given.input.tokens(model), self.compute.kernels()?.name);
        say!("{tokens} tokens, {kernels} kernels, {:.2} ms (one run)", answer.milliseconds);
        answer.choice.iter().for_each(print_choice);
        if self.trace {
            say!("{}", drawing(model, &given.input, &answer.trace).trim_end());
        }
        Ok(())
    }

    /// The prompts of the first and the second text that were asked for.
    fn prompts(&self, model: &Model<'_>) -> Result<[Option<&str>; 2]> {
        let compared = self.input.text.len() == 2 && embeds(model);
        match &self.prompt[..] {
            [] => Ok([None; 2]),
            [both] => Ok([Some(both); 2]),
            [first, second] if compared => Ok([Some(first), Some(second)]),
            several => bail!(
                "--prompt {} times: give it once, or twice with --text twice and a model that gives \
                 embeddings, which are compared",
                several.len()
            ),
        }
    }

    /// Runs two texts, each with its prompt, by themselves, and says how close their embeddings are.
    fn compare(&self, model: &Model<'_>, texts: [(&String, Option<&str>); 2]) -> Result<()> {
        let given = texts.into_iter().map(|(text, prompt)| read_one(model, text, prompt));
        let given = given.collect::<Result<Vec<_>>>()?;
        let longest = given.iter().map(|own| own.input.tokens(model)).max().unwrap_or(0);
        let mut session = self.session(model, longest)?;
        let answers = given.iter().map(|own| self.infer(model, &mut session, &own.input));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let how = similarity(model.base());
        let [first, second] = &answers[..] else { bail!("two texts have two answers") };
        let value = how.of(&first.values, &second.values);
        if self.json {
            let texts = given.iter().zip(&answers);
            let texts = texts.map(|(own, answer)| self.to_json(model, own, answer));
            let texts = texts.collect::<Result<Vec<_>>>()?;
            let similarity = json!({ "by": how.name(), "value": value });
            say!("{}", json!({ "similarity": similarity, "texts": texts }));
            return Ok(());
        }
        say!("similarity ({}): {value:.4}", how.name());
        for (own, answer) in given.iter().zip(&answers) {
            print_notes(&self.notes(model, own));
            print_values(model, &answer.values);
            self.print_run(model, own, answer)?;
        }
        Ok(())
    }

    /// Runs every line of a file, one after the other in one session.
    fn run_texts(&self, model: &Model<'_>, path: &Path, prompt: Option<&str>) -> Result<()> {
        let given = read_texts(model, path, prompt)?;
        let at = |index: usize| format!("{}: line {}", path.display(), index + 1);
        let longest = given.iter().map(|own| own.input.tokens(model)).max().unwrap_or(0);
        let mut session = self.session(model, longest)?;
        for (index, own) in given.iter().enumerate() {
            let answer = self.infer(model, &mut session, &own.input).with_context(|| at(index))?;
            match self.json {
                true => say!("{}", self.to_json(model, own, &answer)?),
                false => say!("{}", in_one_line(model, &own.input, &answer.values)),
            }
        }
        let cut = given.iter().filter(|own| own.note.is_some()).count();
        if cut > 0 && !self.json {
            say!("note: {cut} texts are longer than the model reads: their ends were cut");
        }
        Ok(())
    }

    /// What is used otherwise than it was asked for.
    fn notes(&self, model: &Model<'_>, given: &Given) -> Vec<String> {
        let options = [
            ("--reduction", self.reduction.is_some()),
            ("--selected", self.selected.or(self.tokens).is_some()),
            ("--deadline-ms", self.deadline_ms.is_some()),
        ];
        let asked = options.into_iter().find(|(_, asked)| *asked);
        let dense = asked.and_then(|(option, _)| no_routing(model, option));
        given.note.iter().cloned().chain(self.compute.note()).chain(dense).collect()
    }

    fn budget(&self, tokens: usize) -> Result<Budget<'static>> {
        if let Some(reduction) = self.reduction {
            check_reduction(reduction, tokens)?;
            return Ok(Budget::Reduction(reduction));
        }
        if let Some(milliseconds) = self.deadline_ms {
            let deadline = Duration::try_from_secs_f64(milliseconds / 1000.0);
            let deadline = deadline.with_context(|| format!("--deadline-ms {milliseconds}"))?;
            return Ok(Budget::Deadline(deadline));
        }
        if self.tokens.is_some() {
            warn!("warning: --tokens is called --selected now; the old spelling goes in 0.3");
        }
        let Some(k) = self.selected.or(self.tokens) else { return Ok(Budget::Task) };
        match usize::try_from(k) {
            Ok(k) if k >= 1 && k <= tokens => Ok(Budget::Selected(k)),
            _ => bail!("--selected {k} must be between 1 and the {tokens} tokens of the input"),
        }
    }

    /// A session for inputs of at most so many tokens.
    fn session<'m>(&self, model: &'m Model<'m>, tokens: usize) -> Result<Session<'m>> {
        let session = self.compute.session(model, Capacity::any_budget(tokens))?;
        match self.deadline_ms {
            Some(_) => Ok(session.with_costs(self.costs()?.model())),
            None => Ok(session),
        }
    }

    fn infer(
        &self,
        model: &Model<'_>,
        session: &mut Session<'_>,
        input: &SampleInput,
    ) -> Result<Answer> {
        let budget = self.budget(input.tokens(model))?;
        let mut seen = Seen { trace: Trace::default(), timeline: Timeline::start() };
        let start = Instant::now();
        let (values, choice) = session.run(input.as_input(), budget, &mut seen, |output| {
            (output.values.to_vec(), output.choice)
        })?;
        let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
        if let Some(path) = &self.profile {
            let package = self.files.first().display().to_string();
            let events = trace_events(&package, &seen.timeline.finish()).to_string();
            write_whole(path, events.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Answer { values, choice, trace: seen.trace, milliseconds })
    }

    /// The costs beside the package, if they were measured with what runs now.
    fn costs(&self) -> Result<Costs> {
        let costs = Costs::read(self.files.first())?;
        let (kernels, used) = (self.compute.kernels()?.name, self.compute.threads());
        ensure!(
            costs.kernels == kernels && costs.threads == used,
            "the costs beside the package are those of {} kernels and {}, not of {kernels} and {}: run \
             `coda bench --calibrate` again",
            costs.kernels,
            threads(costs.threads),
            threads(used)
        );
        Ok(costs)
    }

    fn to_json(&self, model: &Model<'_>, given: &Given, answer: &Answer) -> Result<Value> {
        let is_text = matches!(given.input, SampleInput::Tokens(_) | SampleInput::Typed { .. });
        let readings = readings(model, &answer.values);
        let chooses = is_classifier(model) && readings.is_none();
        let label = chooses.then(|| largest(&answer.values)).flatten();
        Ok(json!({
            "tokens": given.input.tokens(model),
            "total_tokens": given.total,
            "cut": is_text && given.note.is_some(),
            "notes": self.notes(model, given),
            "kernels": self.compute.kernels()?.name,
            "label": label.map(|index| label_name(model, index)),
            "values": answer.values,
            "readings": readings,
            "token_labels": token_labels(model, &given.input, &answer.values),
            "probabilities": chooses.then(|| probabilities(model, &answer.values)),
            "selected": self.trace.then_some(&answer.trace.layers),
            "milliseconds": answer.milliseconds,
            "choice": answer.choice.as_ref().map(choice_fields),
        }))
    }
}

impl InputArguments {
    /// The input, resized as `how` says.
    fn read(&self, model: &Model<'_>, prompt: Option<&str>, how: &Preparation) -> Result<Given> {
        let image = self.image.is_some() || self.image_resized.is_some() || self.patches.is_some();
        ensure!(image == reads_images(model), "{}", reads(model));
        let sound = self.audio.is_some() || self.features.is_some();
        ensure!(sound == reads_sound(model), "{}", reads(model));
        if let [first, second @ ..] = &self.text[..] {
            let mut texts = vec![prompted(model, first, prompt)?];
            texts.extend_from_slice(second);
            return read_text(model, &texts);
        }
        let given = |input: SampleInput, note| Given { total: input.tokens(model), input, note };
        if let Some(given) = self.read_grid(model)? {
            return Ok(given);
        }
        if let Some(path) = &self.image {
            return Ok(given(SampleInput::Pixels(read_image(path, model, None)?), None));
        }
        if let Some(path) = &self.image_resized {
            let pixels = SampleInput::Pixels(read_image(path, model, Some(how))?);
            return Ok(given(pixels, Some(format!("the image was read with {how}"))));
        }
        if let Some(path) = &self.patches {
            return Ok(given(SampleInput::Patches(read_floats(path)?), None));
        }
        if let Some(path) = &self.features {
            return Ok(given(SampleInput::Features(read_floats(path)?), None));
        }
        if let Some(limit) = model.max_tokens() {
            let found = self.ids.len();
            ensure!(found <= limit, "{found} token ids for a model of at most {limit} tokens");
        }
        Ok(given(SampleInput::Tokens(self.ids.clone()), None))
    }

    /// An image of any size, or its patches, for a model of such images; `None` for another.
    fn read_grid(&self, model: &Model<'_>) -> Result<Option<Given>> {
        let Some(most) = PatchGrid::largest(&model.config().embedding) else { return Ok(None) };
        let picture = self.image.as_ref().or(self.image_resized.as_ref());
        let patches = match (picture, &self.patches) {
            (Some(path), _) => Patches::read(path, most, model.max_tokens().unwrap_or(1))?,
            (None, Some(path)) => Patches::of_flattened(&read_floats(path)?, most.inputs())
                .with_context(|| path.display().to_string())?,
            (None, None) => return Ok(None),
        };
        let (rows, columns) = (patches.rows, patches.columns);
        let note = format!("the image was resized to {rows} by {columns} patches, rows by columns");
        let note = picture.map(|_| note);
        Ok(Some(Given { input: SampleInput::Grid(patches), total: rows * columns, note }))
    }
}

/// Little-endian f32 values.
fn read_floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = read_file(path)?;
    let (values, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{}: {} bytes are no f32 values", path.display(), bytes.len());
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The lines of a file, or of standard input.
fn read_lines(path: &Path) -> Result<Vec<String>> {
    if path != Path::new("-") {
        return lines(&read_file(path)?);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    lines(&bytes)
}

/// Every line of a file as the model reads it, each with the prompt.
fn read_texts(model: &Model<'_>, path: &Path, prompt: Option<&str>) -> Result<Vec<Given>> {
    ensure!(!reads_images(model), "{}", reads(model));
    let texts = read_lines(path).with_context(|| path.display().to_string())?;
    ensure!(!texts.is_empty(), "{} has no text", path.display());
    let at = |index: usize| format!("{}: line {}", path.display(), index + 1);
    let given = texts.iter().enumerate();
    given.map(|(index, text)| read_one(model, text, prompt).with_context(|| at(index))).collect()
}

/// One text as the model reads it, with its prompt.
fn read_one(model: &Model<'_>, text: &str, prompt: Option<&str>) -> Result<Given> {
    read_text(model, &[prompted(model, text, prompt)?])
}

fn read_text(model: &Model<'_>, texts: &[String]) -> Result<Given> {
    let encoder = Encoder::of(model)?;
    let (input, encoding) = match texts {
        [text] => encoder.encode(text, None)?,
        [first, second] => encoder.encode(first, Some(second))?,
        _ => bail!("--text {} times: give it once, or twice for a pair", texts.len()),
    };
    let note = encoding.truncated.then(|| {
        let (what, Encoding { total, len, .. }) = (["text has", "texts have"], encoding);
        let what = what[usize::from(texts.len() == 2)];
        format!(
            "the {what} {total} tokens, the model reads {len}: the last {} were cut",
            total - len
        )
    });
    Ok(Given { input, total: encoding.total, note })
}

/// Reads an image as the model's pixels.
pub(super) fn read_image(
    path: &Path,
    model: &Model<'_>,
    how: Option<&Preparation>,
) -> Result<Vec<u8>> {
    picture::read(path, model.patch_grid().context("the model reads texts, not images")?, how)
}

fn is_classifier(model: &Model<'_>) -> bool {
    matches!(model.head().map(|head| head.kind), Some(HeadKind::Classification { .. }))
}

/// The fields of what a deadline was answered with.
fn choice_fields(choice: &DeadlineChoice) -> Value {
    json!({
        "k": choice.tokens,
        "layers_with_more": choice.layers,
        "tokens_more": token_step(choice.tokens),
        "predicted_ms": choice.predicted.as_secs_f64() * 1000.0,
    })
}

/// What a deadline was answered with.
fn print_choice(choice: &DeadlineChoice) {
    let DeadlineChoice { tokens: k, layers, predicted } = choice;
    let (more, predicted) = (token_step(*k), predicted.as_secs_f64() * 1000.0);
    let more = match layers {
        0 => String::new(),
        layers => format!(", {more} more in the first {layers} layers"),
    };
    say!("k = {k}{more}: {predicted:.2} ms predicted");
}

/// The first values of an embedding.
fn first_values(values: &[f32]) -> String {
    const SHOWN: usize = 8;
    let first: Vec<String> = values.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
    format!("embedding of {} values: {} ...", values.len(), first.join(" "))
}

/// An answer in a line: the first values of an embedding, every label that is judged by itself, or the
/// most likely one.
fn in_one_line(model: &Model<'_>, input: &SampleInput, values: &[f32]) -> String {
    if let Some(found) = token_labels(model, input, values) {
        return token_labels_in_line(&found);
    }
    if !is_classifier(model) {
        return first_values(values);
    }
    if let Some(readings) = readings(model, values) {
        return readings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    let likely = probabilities(model, values).into_iter().next();
    likely.map_or_else(String::new, |(label, share)| format!("{:5.1} %  {label}", 100.0 * share))
}

fn print_values(model: &Model<'_>, values: &[f32]) {
    if !is_classifier(model) {
        say!("{}", first_values(values));
        return;
    }
    if let Some(readings) = readings(model, values) {
        return print_readings(&readings);
    }
    for (label, probability) in probabilities(model, values).into_iter().take(3) {
        say!("{:5.1} %  {}", 100.0 * probability, escaped(&label));
    }
}

/// Every label with its probability, the most likely first, of equals the one with the lower index.
fn probabilities(model: &Model<'_>, logits: &[f32]) -> Vec<(String, f32)> {
    let top = largest(logits).and_then(|index| logits.get(index)).copied().unwrap_or(0.0);
    let total: f32 = logits.iter().map(|x| (x - top).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable: equals stay in their order. No logit of an answer is NaN.
    order.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap_or(Ordering::Equal));
    let probability = |index: usize| (logits[index] - top).exp() / total;
    order.into_iter().map(|index| (label_name(model, index), probability(index))).collect()
}

/// What each layer routed.
pub(super) fn drawing(model: &Model<'_>, input: &SampleInput, trace: &Trace) -> String {
    match (input, model.patch_grid(), model.config().embedding) {
        (SampleInput::Pixels(pixels), Some(grid), Embedding::Patches { prefix_tokens, .. }) => {
            draw::patches(pixels, &grid, prefix_tokens, trace)
        }
        (SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. }, ..) => {
            draw::tokens(ids, model.tokenizer().as_ref(), trace)
        }
        _ => String::new(),
    }
}
