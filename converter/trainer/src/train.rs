//! The training loop.

use crate::checkpoint::Checkpoint;
use crate::data::{Augmentation, Dataset, Reader, Sample, epoch, split};
use crate::loss::{LossWeights, Targets, loss};
use crate::model::{
    Batch, Encoded, Half, Initializer, Key, Method, Model, TaskSpec, Tensors, blank_decoder_task,
    blank_task,
};
use crate::optimizer::{Gradients, State, initial_state};
use crate::random::{Draws, Purpose};
use crate::record::{AtReduction, CurvePoint, Evaluation, Progress, Sums};
use crate::saliency;
use crate::settings::Settings;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use coda_converter::evaluate::layer_reductions;
use coda_converter::source::{Base, Entry, FloatTensor, Task};
use coda_runtime::config::Stages;
use coda_runtime::executor::largest;
use coda_runtime::format::Role;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::iter::{repeat_n, repeat_with};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use thiserror::Error;

/// Batches that routers are fitted to.
const SALIENCY_BATCHES: usize = 100;

/// Why a training ends before its last step.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss, or a gradient, is not a number.
    #[error(
        "{what} is {value} at step {step} with learning rate {rate:e}: lower --rate; the last \
         checkpoint is intact"
    )]
    NotFinite {
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Steps done before.
        step: u64,
        /// The learning rate of the step.
        rate: f64,
    },
    /// Ctrl-C; a checkpoint has been written.
    #[error("interrupted at step {step}; the same command goes on from there")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// The checkpoint is of another training.
    #[error(
        "the checkpoint there belongs to another training (other settings, data or base): remove \
         it, or choose another --out"
    )]
    OtherRun,
}

/// What a training is told about while it runs.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, progress: &Progress, loss: f64, accuracy: Option<f64>);
    /// A validation is done.
    fn evaluated(&mut self, evaluation: &Evaluation);
}

/// Where a training keeps its state.
#[derive(Clone, Copy, Debug)]
pub struct Checkpointing<'p> {
    /// The checkpoint file.
    pub path: &'p Path,
    /// Steps between two checkpoints; 0 for none but that of an interrupt.
    pub every: u64,
    /// Set by Ctrl-C.
    pub interrupted: &'p AtomicBool,
}

/// What is learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Labels, and a teacher's answers if there is one.
    Labels,
    /// The hidden states of the dense base, without labels.
    Pretrain,
}

/// Logits and pooled vectors of the teachers, by sample.
pub type Answers = BTreeMap<usize, (Vec<f32>, Vec<f32>)>;

/// A training of one model on one set.
#[derive(Debug)]
pub struct Trainer<'a> {
    settings: Settings,
    /// What is minimised.
    weights: LossWeights,
    reader: Reader<'a>,
    data: &'a Dataset,
    training: Vec<usize>,
    held_out: Vec<usize>,
    model: Model,
    /// All dense; what they say is averaged.
    teachers: Vec<Model>,
    state: State,
    progress: Progress,
    best: BTreeMap<Key, Vec<f32>>,
    /// Their logits and pooled vector of a text, by sample.
    answers: Answers,
    run: String,
}

/// The model that a training begins with.
///
/// # Errors
/// The settings do not fit the base.
pub fn initial_model(
    settings: &Settings,
    base: &Base,
    labels: usize,
    first: Option<&Task>,
) -> Result<Model> {
    let spec = settings.spec(base, labels)?;
    let values = encoder_values(settings, base, &spec, first)?;
    let trains = |place| settings.method.trains(place);
    let model = Model::new(base.config, spec, &values, trains, DType::F32)?;
    let Some(decoder) = &base.decoder else { return Ok(model) };
    let mut values = decoder.tensors.clone();
    let initializer = Initializer { seed: settings.seed, half: Half::Decoder };
    values.extend(blank_decoder_task(&decoder.config, &model.spec, initializer));
    if let Some(first) = first.and_then(|first| first.decoder.as_ref()) {
        let appended = first.tensors.keys().any(|(_, role)| *role == Role::AppendedStates);
        ensure!(!appended, "the task to begin with appends states, which are not trained");
        begin_with(&mut values, &first.tensors)?;
    }
    if settings.method == Method::Full {
        by_bucket(&mut values, &decoder.entries);
    }
    Ok(model.with_decoder(decoder, &values, trains, DType::F32)?)
}

/// What an encoder begins with.
fn encoder_values(
    settings: &Settings,
    base: &Base,
    spec: &TaskSpec,
    first: Option<&Task>,
) -> Result<Tensors> {
    let initializer = Initializer { seed: settings.seed, half: Half::Encoder };
    let mut values: Tensors = base.tensors.clone();
    // A classifier behind dense stages reads another vector than a new one does.
    if spec.labels == 0 || base.head.is_some_and(|head| head.stages != Stages::NONE) {
        values.retain(|(_, role), _| !matches!(role, Role::HeadWeight | Role::HeadBias));
    }
    for (place, tensor) in blank_task(&base.config, spec, &base.tensors, initializer) {
        // A base's own classifier of as many labels is a better beginning than a new one.
        match values.get(&place) {
            Some(own) if own.shape == tensor.shape => {}
            _ => drop(values.insert(place, tensor)),
        }
    }
    if let Some(first) = first {
        begin_with(&mut values, &first.tensors)?;
    }
    if settings.method == Method::Full {
        by_bucket(&mut values, &base.entries);
    }
    Ok(values)
}

/// A relative bias that is read by distance as it is trained: by bucket.
fn by_bucket(values: &mut Tensors, entries: &[Entry]) {
    for entry in entries {
        let (Some(buckets), Some(tensor)) = (entry.buckets(), values.get_mut(&entry.place)) else {
            continue;
        };
        let heads = tensor.shape[0];
        if let Some(values) = buckets.by_bucket(&tensor.values, heads) {
            *tensor = FloatTensor { shape: vec![buckets.count, heads], values };
        }
    }
}

/// Takes over the values of a task.
fn begin_with(values: &mut Tensors, first: &Tensors) -> Result<()> {
    for (place, tensor) in first {
        let Some(own) = values.get_mut(place) else { continue };
        ensure!(
            own.shape == tensor.shape,
            "the task to begin with has {:?} where {:?} is needed ({})",
            tensor.shape,
            own.shape,
            place.1.name()
        );
        *own = tensor.clone();
    }
    Ok(())
}

/// A frozen dense model: the base with a parallel adapter, or the base alone.
///
/// # Errors
/// The task's layers are routed.
pub fn teacher_model(base: &Base, task: Option<&Task>, spec: &TaskSpec) -> Result<Model> {
    let mut values = base.tensors.clone();
    let mut own = TaskSpec::dense(spec.pooling, 0);
    if let Some(task) = task {
        let routed = task.layers.iter().any(|layer| layer.routing.is_some());
        ensure!(!routed, "the teacher must be dense: give a parallel adapter");
        values.extend(task.tensors.clone());
        own.adapter_activation = task.config.adapter_activation;
        if base.decoder.is_none() {
            own.labels = task.labels.len();
            let head = task.head.context("the teacher has no head")?;
            own.pooling = head.pooling.single().context("the teacher has more than one pooling")?;
        }
    }
    let model = Model::new(base.config, own, &values, |_| false, DType::F32)?;
    let Some(decoder) = &base.decoder else { return Ok(model) };
    let mut values = decoder.tensors.clone();
    if let Some(task) = task.and_then(|task| task.decoder.as_ref()) {
        values.extend(task.tensors.clone());
    }
    Ok(model.with_decoder(decoder, &values, |_| false, DType::F32)?)
}

impl<'a> Trainer<'a> {
    /// Prepares a training; `sources` are the hashes of what it begins from.
    ///
    /// # Errors
    /// There is nothing to train on.
    pub fn new(
        settings: &Settings,
        objective: Objective,
        reader: Reader<'a>,
        data: &'a Dataset,
        model: Model,
        teachers: Vec<Model>,
        sources: &[(String, String)],
    ) -> Result<Self> {
        settings.check()?;
        let (training, held_out) = split(data, settings.validation, settings.seed);
        ensure!(!training.is_empty(), "there is no sample to train on");
        for teacher in &teachers {
            let labels = teacher.spec.labels;
            ensure!(
                labels == 0 || labels == model.spec.labels,
                "the teacher has {labels} labels, the data {}",
                model.spec.labels
            );
        }
        let run = identity(settings, objective, sources, data)?;
        let state = initial_state(model.variables())?;
        // Right answers are labels, too: a pretraining learns what the base writes.
        let pretrain = objective == Objective::Pretrain && model.writes();
        let soft_labels = if pretrain { 1.0 } else { settings.loss.soft_labels };
        Ok(Self {
            settings: settings.clone(),
            weights: LossWeights { soft_labels, ..settings.loss },
            reader,
            data,
            training,
            held_out,
            model,
            teachers,
            state,
            progress: Progress::default(),
            best: BTreeMap::new(),
            answers: Answers::new(),
            run,
        })
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// It cannot be read, or is of another training ([`TrainError::OtherRun`]).
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let checkpoint = Checkpoint::read(path)?;
        if checkpoint.run != self.run {
            return Err(TrainError::OtherRun.into());
        }
        checkpoint.check(self.model.variables())?;
        self.set_values(&checkpoint.values)?;
        self.state = checkpoint.state;
        self.progress = checkpoint.progress;
        self.best = checkpoint.best;
        Ok(())
    }

    /// Fits the routers to the saliency of the tokens of the model as it is, run dense; returns the part
    /// of the variance that each explains ([`saliency`]).
    ///
    /// # Errors
    /// The data does not fit the model.
    pub fn fit_routers(&mut self) -> Result<Vec<f64>> {
        let Settings { batch, seed, .. } = self.settings;
        let order = epoch(&self.data.samples, &self.training, batch, seed, 0);
        let batches = order.iter().take(SALIENCY_BATCHES).map(|indices| {
            let samples: Vec<&Sample> =
                indices.iter().map(|index| &self.data.samples[*index]).collect();
            self.reader.batch(&samples, Augmentation::default(), None)
        });
        let fitted = saliency::routers(&self.model, batches, self.settings.loss)?;
        let mut explained = Vec::new();
        for (layer, fitted) in (0..).zip(fitted) {
            let key = (Half::Encoder, (layer, Role::Router));
            if let Some(variable) = self.model.variables().get(&key) {
                variable.set(&Tensor::from_slice(
                    &fitted.router,
                    variable.dims(),
                    &Device::Cpu,
                )?)?;
                explained.push(fitted.explained);
            }
        }
        self.state = initial_state(self.model.variables())?;
        Ok(explained)
    }

    /// How far the training is.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the teachers said of whole texts so far, by sample.
    #[must_use]
    pub const fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Begins with answers of the same teachers to the same texts.
    pub fn set_answers(&mut self, answers: Answers) {
        self.answers = answers;
    }

    /// The model; after [`Trainer::run`] with the best weights.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Sizes of the training part and of the part held out.
    #[must_use]
    pub fn parts(&self) -> (usize, usize) {
        (self.training.len(), self.held_out.len())
    }

    /// Trains to the end, or until validation is no longer better.
    ///
    /// # Errors
    /// [`TrainError`], or a checkpoint that cannot be written.
    pub fn run(
        &mut self,
        checkpoints: Checkpointing<'_>,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let size = self.settings.batch;
        let seed = self.settings.seed;
        let (mut current, mut batches) = (u64::MAX, Vec::new());
        let per_epoch = epoch(&self.data.samples, &self.training, size, seed, 0).len() as u64;
        let mut clock = Instant::now();
        while self.progress.step < self.settings.steps && !self.progress.stopped_early {
            let step = self.progress.step;
            if step / per_epoch != current {
                current = step / per_epoch;
                batches = epoch(&self.data.samples, &self.training, size, seed, current);
            }
            let indices = &batches[(step % per_epoch) as usize];
            let (value, accuracy) = self.step(indices)?;
            self.progress.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            observer.step(&self.progress, value, accuracy);
            self.evaluate_when_due(observer)?;
            let interrupted = checkpoints.interrupted.load(Ordering::Relaxed);
            let due = checkpoints.every > 0 && self.progress.step.is_multiple_of(checkpoints.every);
            if interrupted || due {
                self.checkpoint()?.write(checkpoints.path)?;
            }
            if interrupted {
                return Err(TrainError::Interrupted { step: self.progress.step }.into());
            }
        }
        let best = std::mem::take(&mut self.best);
        if !best.is_empty() {
            self.set_values(&best)?;
        }
        self.best = best;
        Ok(())
    }

    /// The state at this moment.
    ///
    /// # Errors
    /// Never for tensors in main memory.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            run: self.run.clone(),
            progress: self.progress.clone(),
            values: self.values()?,
            state: self.state.clone(),
            best: self.best.clone(),
        })
    }

    fn values(&self) -> Result<BTreeMap<Key, Vec<f32>>> {
        let values = |(key, variable): (&Key, &Var)| {
            Ok((*key, variable.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
        };
        self.model.variables().iter().map(values).collect()
    }

    fn set_values(&self, values: &BTreeMap<Key, Vec<f32>>) -> Result<()> {
        for (key, variable) in self.model.variables() {
            let own = values.get(key).with_context(|| format!("no value of {key:?}"))?;
            variable.set(&Tensor::from_slice(own, variable.dims(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// One step of the optimiser; its loss and accuracy.
    fn step(&mut self, indices: &[usize]) -> Result<(f64, Option<f64>)> {
        let (step, seed) = (self.progress.step, self.settings.seed);
        let reductions = self.draw_reductions(step);
        let samples: Vec<&Sample> =
            indices.iter().map(|index| &self.data.samples[*index]).collect();
        let draws = Draws::new(seed, Purpose::Augment, step);
        let mut batch =
            self.reader.batch(&samples, self.settings.augmentation(step), Some(draws))?;
        batch.draw = step + 1;
        let encoded = self.model.forward(&batch, &reductions)?;
        let total = self.loss(&encoded, &batch, indices)?;
        let value = f64::from(total.to_scalar::<f32>()?);
        let factor = self.settings.rate_factor(step);
        let rate = self.settings.optimizer.rate * factor;
        let finite = |what, value: f64| match value.is_finite() {
            true => Ok(()),
            false => Err(TrainError::NotFinite { what, value, step, rate }),
        };
        finite("the loss", value)?;
        let gradients = total.backward()?;
        let optimizer = self.settings.optimizer;
        let norm = optimizer.gradient_norm(self.model.variables(), &gradients)?;
        finite("the gradient", norm)?;
        let variables = self.model.variables();
        let gradients = Gradients { of: &gradients, norm };
        optimizer.step(variables, &mut self.state, gradients, factor, step + 1)?;
        let right = encoded.logits.as_ref().map(|logits| right_samples(logits, &batch));
        let right =
            right.transpose()?.map(|right| right.into_iter().filter(|right| *right).count());
        self.progress.step += 1;
        self.note(&batch, value, right, rate, norm);
        let accuracy = right.map(|right| 100.0 * right as f64 / batch.labels.len() as f64);
        Ok((value, accuracy))
    }

    /// The reduction of every layer in a step.
    fn draw_reductions(&self, step: u64) -> Vec<f32> {
        let settings = &self.settings;
        let mut draws = Draws::new(settings.seed, Purpose::Reduction, step);
        let mut draw = || {
            let drawn = draws.below(settings.routing.reductions.len());
            settings.annealed(settings.routing.reductions[drawn], step)
        };
        let layers = self.model.config().layers;
        if settings.routing.mix_layers {
            return layer_reductions(
                repeat_with(draw).take(layers),
                &settings.routing.layer_factors,
            );
        }
        layer_reductions(repeat_n(draw(), layers), &settings.routing.layer_factors)
    }

    fn loss(&mut self, encoded: &Encoded, batch: &Batch, samples: &[usize]) -> Result<Tensor> {
        let targets = self.targets(batch, samples)?;
        Ok(loss(encoded, batch.expected(), targets.as_ref(), self.weights)?)
    }

    /// The mean of what the teachers say of a batch; `None` without one.
    fn distilled(&self, batch: &Batch) -> Result<Option<Targets>> {
        let all = self.teachers.iter().map(|teacher| {
            let Encoded { hidden, pooled, logits, .. } = teacher.forward(batch, &[])?;
            Ok(Targets { hidden: Some(hidden), pooled, logits })
        });
        Ok(Targets::mean(all.collect::<Result<_>>()?)?)
    }

    /// As [`distilled`](Self::distilled). Answers about whole texts are kept: they are the same in every
    /// epoch.
    fn targets(&mut self, batch: &Batch, samples: &[usize]) -> Result<Option<Targets>> {
        let Some(teacher) = self.teachers.first() else { return Ok(None) };
        let kept = self.reader.reads_texts() && self.settings.loss.hidden == 0.0;
        if !kept || teacher.spec.labels == 0 {
            return self.distilled(batch);
        }
        for index in samples {
            self.ask(*index)?;
        }
        let (mut logits, mut pooled) = (Vec::new(), Vec::new());
        for index in samples {
            let (own, vector) = &self.answers[index];
            logits.extend_from_slice(own);
            pooled.extend_from_slice(vector);
        }
        let matrix = |values: Vec<f32>| {
            let shape = (samples.len(), values.len() / samples.len());
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        Ok(Some(Targets { hidden: None, pooled: matrix(pooled)?, logits: Some(matrix(logits)?) }))
    }

    /// Asks the teachers about a text that they were not asked about.
    fn ask(&mut self, index: usize) -> Result<()> {
        if self.answers.contains_key(&index) {
            return Ok(());
        }
        // One text at a time: an answer must not depend on which others it was asked with, or a resumed
        // training would differ from a whole one.
        let text = [&self.data.samples[index]];
        let batch = self.reader.batch(&text, Augmentation::default(), None)?;
        let Targets { pooled, logits, .. } =
            self.distilled(&batch)?.context("there is no teacher")?;
        let logits = logits.context("the teacher has no head")?;
        let answer = (logits.flatten_all()?.to_vec1()?, pooled.flatten_all()?.to_vec1()?);
        self.answers.insert(index, answer);
        Ok(())
    }

    /// Adds a step to the sums, and the sums to the curve when it is due.
    fn note(&mut self, batch: &Batch, loss: f64, right: Option<usize>, rate: f64, norm: f64) {
        let Progress { step, curve, sums, .. } = &mut self.progress;
        sums.steps += 1;
        sums.samples += batch.labels.len() as u64;
        sums.loss += loss;
        sums.right += right.unwrap_or(0) as u64;
        if step.is_multiple_of(self.settings.curve_interval()) || *step == self.settings.steps {
            let Sums { steps, samples, loss, right: all } = std::mem::take(sums);
            curve.push(CurvePoint {
                step: *step,
                loss: loss / steps as f64,
                accuracy: right.map(|_| 100.0 * all as f64 / samples as f64),
                rate,
                gradient_norm: norm,
            });
        }
    }

    fn evaluate_when_due(&mut self, observer: &mut impl Observer) -> Result<()> {
        let step = self.progress.step;
        let due = step.is_multiple_of(self.settings.evaluation_interval());
        if self.held_out.is_empty() || !(due || step == self.settings.steps) {
            if step == self.settings.steps && self.held_out.is_empty() {
                self.best = self.averages();
            }
            return Ok(());
        }
        let values = self.values()?;
        self.set_values(&self.averages())?;
        let samples: Vec<&Sample> =
            self.held_out.iter().map(|index| &self.data.samples[*index]).collect();
        let mut reductions = self.evaluate(&samples, &self.settings.routing.reductions)?;
        reductions.iter_mut().for_each(|at| at.right = None);
        self.set_values(&values)?;
        let evaluation = Evaluation { step, reductions };
        observer.evaluated(&evaluation);
        self.judge(evaluation);
        Ok(())
    }

    /// Keeps the weights of the best validation, and counts those that are worse.
    fn judge(&mut self, evaluation: Evaluation) {
        let (step, score) = (evaluation.step, evaluation.score());
        self.progress.evaluations.push(evaluation);
        if self.progress.best_score.is_none_or(|best| score > best) {
            self.progress.best_score = Some(score);
            self.progress.best_step = step;
            self.progress.worse = 0;
            self.best = self.averages();
        } else {
            self.progress.worse += 1;
            let patience = self.settings.patience;
            self.progress.stopped_early = patience > 0 && self.progress.worse >= patience;
        }
    }

    fn averages(&self) -> BTreeMap<Key, Vec<f32>> {
        self.state.iter().map(|(place, own)| (*place, own.average.clone())).collect()
    }

    /// Accuracy and loss of samples at several reductions, with the weights as they are.
    ///
    /// # Errors
    /// A sample does not fit the model.
    pub fn evaluate(&self, samples: &[&Sample], reductions: &[f32]) -> Result<Vec<AtReduction>> {
        let mut reductions =
            if self.model.spec.attention.is_some() { reductions.to_vec() } else { vec![1.0] };
        reductions.sort_by(f32::total_cmp);
        reductions.dedup();
        let at = |reduction: f32| {
            let layers = repeat_n(reduction, self.model.config().layers);
            let layers = layer_reductions(layers, &self.settings.routing.layer_factors);
            self.evaluate_at(samples, reduction, &layers)
        };
        reductions.into_iter().map(at).collect()
    }

    fn evaluate_at(
        &self,
        samples: &[&Sample],
        reduction: f32,
        reductions: &[f32],
    ) -> Result<AtReduction> {
        let (mut right, mut sum) = (Vec::new(), 0.0);
        for part in samples.chunks(self.settings.batch) {
            let batch = self.reader.batch(part, Augmentation::default(), None)?;
            let encoded = self.model.forward(&batch, reductions)?;
            // Against the labels alone, if there are any: a teacher costs more than the model.
            let targets = if encoded.logits.is_none() { self.distilled(&batch)? } else { None };
            let value = loss(&encoded, batch.expected(), targets.as_ref(), self.weights)?;
            let value = value.to_scalar::<f32>()?;
            sum += f64::from(value) * part.len() as f64;
            if let Some(logits) = &encoded.logits {
                let whole = |sample: &&Sample| self.reader.is_whole(sample);
                let found = right_samples(logits, &batch)?.into_iter().zip(part);
                right.extend(found.map(|(right, sample)| right && whole(sample)));
            }
        }
        let count = samples.len() as f64;
        let accuracy = 100.0 * right.iter().filter(|right| **right).count() as f64 / count;
        Ok(AtReduction {
            reduction,
            accuracy: (!right.is_empty() && !self.model.writes()).then_some(accuracy),
            exact: (!right.is_empty() && self.model.writes()).then_some(accuracy),
            loss: sum / count,
            right: (!right.is_empty()).then(|| hexadecimal(&right)),
        })
    }
}

/// Tells trainings apart: a checkpoint belongs to one.
fn identity(
    settings: &Settings,
    objective: Objective,
    sources: &[(String, String)],
    data: &Dataset,
) -> Result<String> {
    let identity = serde_json::to_vec(&(settings, objective == Objective::Labels, sources))?;
    let mut hash = Sha256::new_with_prefix(identity);
    hash.update(&data.hash);
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Which rows have their highest logit at the label, by the rule of the runtime.
///
/// # Errors
/// The logits are no matrix.
pub fn right_answers(logits: &Tensor, labels: &[usize]) -> Result<Vec<bool>> {
    let rows: Vec<Vec<f32>> = logits.to_dtype(DType::F32)?.to_vec2()?;
    Ok(rows.iter().zip(labels).map(|(row, label)| largest(row) == Some(*label)).collect())
}

/// Which samples have every logit right: the label, or every id of the answer.
fn right_samples(logits: &Tensor, batch: &Batch) -> Result<Vec<bool>> {
    let rows = right_answers(logits, batch.expected())?;
    let Some(answers) = &batch.answers else { return Ok(rows) };
    let whole = |part: &Range<usize>| rows[part.clone()].iter().all(|right| *right);
    Ok(answers.parts.iter().map(whole).collect())
}

/// A digit for each four, the first in the highest bit.
fn hexadecimal(bits: &[bool]) -> String {
    let digit = |four: &[bool]| {
        let value =
            (0..4).fold(0, |value, bit| value << 1 | u32::from(four.get(bit) == Some(&true)));
        char::from_digit(value, 16).unwrap_or('0')
    };
    bits.chunks(4).map(digit).collect()
}
