//! Answers of a model of speech: times and their rules, languages, silence, and answers that repeat themselves.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{PackageBytes, WeightType, pack_base};
use coda_converter::source::Base;
use coda_runtime::Generator;
use coda_runtime::decoder::{Ending, GenerateError, Search, StepObserver};
use coda_runtime::executor::Input;
use coda_runtime::format::{SectionKind, SpeechRules};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::seq2seq::Vectors;
use coda_tests::speech::{
    END, FIRST_TIME, LANGUAGES, LATEST_START, START, SUPPRESSED, VOCABULARY, settings,
    several_languages, write_directory,
};
use std::path::Path;

/// The bundled Whisper with random weights, and with a vocabulary that holds 20 times and three languages.
fn package(weights: WeightType) -> PackageBytes {
    let scratch = tempfile::tempdir().unwrap();
    pack_base(&several_languages(scratch.path()).unwrap(), weights, "").unwrap().bytes
}

/// Values that look like features, another row for each number.
fn features(number: u32) -> Vec<f32> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 3.0 - 1.5
    };
    (0..2 * 12 * 80).map(|_| next()).collect()
}

/// Does what `work` does with a generator for the longest answers.
fn with_generator<T>(
    package: &PackageBytes,
    table: &'static Kernels,
    work: impl FnOnce(&mut Generator<'_, '_>) -> T,
) -> T {
    let model = Model::from_package(&package.parse().unwrap()).unwrap();
    let encoder = Plan::new(&model.dimensions(), Capacity::any_budget(12)).unwrap();
    let answer = AnswerCapacity { positions: 28, beams: 2 };
    let decoder = model.decoder().unwrap().dimensions();
    let plan = GenerationPlan::new(encoder, &decoder, answer).unwrap();
    let mut memory = vec![0_u8; plan.arena_bytes() + 16];
    let first = memory.as_ptr().align_offset(16);
    let arena = &mut memory[first..first + plan.arena_bytes()];
    work(&mut Generator::new(&model, table, plan, arena).unwrap())
}

/// The logits of every step.
#[derive(Default)]
struct Logits(Vec<Vec<f32>>);

impl StepObserver for Logits {
    fn logits(&mut self, _: usize, first: usize, values: &[f32]) {
        if first == 0 {
            self.0.push(Vec::new());
        }
        self.0.last_mut().unwrap().extend(values);
    }
}

/// What follows the new ids `before`, as the rules of Whisper say it, in f64; and whether all times together
/// decided.
fn by_the_rules(logits: &[f32], before: &[u32]) -> (u32, bool) {
    let mut logits: Vec<f64> = logits.iter().map(|value| f64::from(*value)).collect();
    let is_time = |id: u32| id >= FIRST_TIME;
    let mut never = [&SUPPRESSED[..], &[FIRST_TIME - 1]].concat();
    if before.is_empty() {
        never.extend([0, END]);
    }
    let last_is_time = before.last().is_some_and(|id| is_time(*id));
    let one_before_is_time = before.len() < 2 || is_time(before[before.len() - 2]);
    match (last_is_time, one_before_is_time) {
        (true, true) => never.extend(FIRST_TIME..VOCABULARY),
        (true, false) => never.extend(0..END),
        (false, _) => {}
    }
    if let Some(last) = before.iter().rev().copied().find(|id| is_time(*id)) {
        let may_be_same = last_is_time && !one_before_is_time;
        never.extend(FIRST_TIME..last + u32::from(!may_be_same));
    }
    if before.is_empty() {
        never.extend(0..FIRST_TIME);
        never.extend(FIRST_TIME + LATEST_START + 1..VOCABULARY);
    }
    for id in never {
        logits[id as usize] = f64::NEG_INFINITY;
    }
    let (text, times) = logits.split_at(FIRST_TIME as usize);
    let sum = times.iter().map(|value| value.exp()).sum::<f64>().ln();
    let likeliest_text = text.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let likeliest_time = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let decided = sum > likeliest_text && likeliest_time < likeliest_text;
    if sum > likeliest_text {
        logits[..FIRST_TIME as usize].fill(f64::NEG_INFINITY);
    }
    let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    (best as u32, decided)
}

#[test]
fn times_follow_the_rules_of_whisper() {
    let package = package(WeightType::F32);
    let start = [START, 31, 37];
    let search = Search { start: &start, longest: 25, times: true, ..Search::GREEDY };
    let (mut times, mut texts, mut decided) = (0, 0, 0);
    with_generator(&package, Kernels::best(), |generator| {
        for number in 0..40 {
            let values = features(number);
            let input = Input::Features(&values);
            let mut answer = generator.generate(input, Budget::Task, &search).unwrap();
            let mut seen = Logits::default();
            while answer.step_observed(&mut seen).unwrap() {}
            let tokens = answer.tokens().to_vec();
            for (step, logits) in seen.0.iter().enumerate() {
                let (expected, by_sum) = by_the_rules(logits, &tokens[..step]);
                let found = tokens.get(step).copied().unwrap_or(END);
                assert_eq!(found, expected, "sound {number}, step {step}: {tokens:?}");
                times += usize::from(found >= FIRST_TIME);
                texts += usize::from(found < END);
                decided += usize::from(by_sum);
            }
        }
    });
    // The rules were at work: text and times, and times of which none alone was the likeliest.
    assert!(times > 100 && texts > 100 && decided > 5, "{times} {texts} {decided}");
}

#[test]
fn every_table_writes_the_same_times() {
    let search = Search { start: &[START, 30, 37], longest: 25, times: true, ..Search::GREEDY };
    for weights in [WeightType::F32, WeightType::Int8] {
        let package = package(weights);
        let answers = Kernels::available().map(|table| {
            with_generator(&package, table, |generator| {
                let tokens = (0..4).map(|number| {
                    let values = features(number);
                    let input = Input::Features(&values);
                    let mut answer = generator.generate(input, Budget::Task, &search).unwrap();
                    while answer.step().unwrap() {}
                    answer.tokens().to_vec()
                });
                tokens.collect::<Vec<_>>()
            })
        });
        let answers = answers.collect::<Vec<_>>();
        assert!(answers.iter().all(|own| *own == answers[0]), "{weights:?}");
    }
}

#[test]
fn times_are_refused_where_there_are_none_or_several_hypotheses() {
    let times = Search { start: &[START], longest: 4, times: true, ..Search::GREEDY };
    let values = features(1);
    let refused = |package: &PackageBytes, search: &Search<'_>| {
        with_generator(package, Kernels::best(), |generator| {
            generator.generate(Input::Features(&values), Budget::Task, search).unwrap_err()
        })
    };
    let several = Search { beams: 2, ..times };
    let found = refused(&package(WeightType::F32), &several);
    assert_eq!(found, GenerateError::Times { beams: 2 });
    assert!(found.to_string().contains("1 beam"), "{found}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed012/whisper");
    let vectors = Vectors::open(&root).unwrap().unwrap();
    let without = pack_base(vectors.base(), WeightType::F32, "").unwrap().bytes;
    let found = refused(&without, &times);
    assert_eq!(found, GenerateError::Times { beams: 1 });
    assert!(found.to_string().contains("does not say which ids are times"), "{found}");
}

#[test]
fn probabilities_are_those_of_all_ids_before_any_is_suppressed() {
    let package = package(WeightType::F32);
    let values = features(7);
    with_generator(&package, Kernels::best(), |generator| {
        let mut out = [0.0; 5];
        let found = generator.probabilities(&[START], &[END], &mut out);
        assert_eq!(found.unwrap_err(), GenerateError::NothingEncoded);
        let search = Search { start: &[START], longest: 1, ..Search::GREEDY };
        let input = Input::Features(&values);
        let mut seen = Logits::default();
        let mut answer = generator.generate(input, Budget::Task, &search).unwrap();
        answer.step_observed(&mut seen).unwrap();
        drop(answer);
        generator.probabilities(&[START], &[39, 30, 31, 32, 1000], &mut out).unwrap();
        let exp = |id: usize| f64::from(seen.0[0][id]).exp();
        let all: f64 = (0..VOCABULARY as usize).map(exp).sum();
        for (id, found) in [39, 30, 31, 32].into_iter().zip(out) {
            assert!((exp(id) / all - f64::from(found)).abs() < 1e-6, "{id}: {found}");
        }
        assert_eq!(out[4], 0.0, "an id behind the vocabulary");
        // And the input is still there to be answered.
        assert!(generator.again(&search).unwrap().step().is_ok());
    });
}

#[test]
fn a_score_is_the_mean_log_probability_of_one_hypothesis_too() {
    let package = package(WeightType::F32);
    let values = features(3);
    with_generator(&package, Kernels::best(), |generator| {
        let input = Input::Features(&values);
        let search = Search { start: &[START, 40], longest: 6, ..Search::GREEDY };
        let mut plain = generator.generate(input, Budget::Task, &search).unwrap();
        while plain.step().unwrap() {}
        assert_eq!(plain.score(), None);
        let tokens = plain.tokens().to_vec();
        drop(plain);
        let scored = Search { scored: true, length_penalty: Some(1.0), ..search };
        let mut answer = generator.again(&scored).unwrap();
        let mut seen = Logits::default();
        while answer.step_observed(&mut seen).unwrap() {}
        assert_eq!(answer.tokens(), tokens);
        let mut sum = 0.0;
        for (step, logits) in seen.0.iter().enumerate() {
            let never = (FIRST_TIME..VOCABULARY).chain(SUPPRESSED);
            let first = [0, END].into_iter().filter(|_| step == 0);
            let never = never.chain(first).collect::<Vec<_>>();
            let may = |id: &usize| !never.contains(&(*id as u32));
            let exp = |id: usize| f64::from(logits[id]).exp();
            let all: f64 = (0..logits.len()).filter(may).map(exp).sum();
            let id = tokens.get(step).copied().unwrap_or(END) as usize;
            sum += (exp(id) / all).ln();
        }
        let expected = sum / seen.0.len() as f64;
        let found = f64::from(answer.score().unwrap());
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    });
}

/// The same, whose answers hold a few ids alone, so that they repeat themselves.
fn of_few_words(words: &[u32]) -> PackageBytes {
    let scratch = tempfile::tempdir().unwrap();
    let mut fields = settings();
    let never = (0..VOCABULARY).filter(|id| !words.contains(id));
    fields.insert("suppress_tokens".to_owned(), never.collect());
    write_directory(scratch.path(), fields).unwrap();
    pack_base(&Base::open(scratch.path(), None).unwrap(), WeightType::F32, "").unwrap().bytes
}

/// Whether `found` ends with one phrase at least four times and 16 ids long, the first of them ending at `tokens`.
fn is_loop(found: &[u32], tokens: usize) -> bool {
    let repeated = found.len() - tokens;
    (1..=tokens).any(|phrase| {
        let (earlier, later) = (&found[..found.len() - phrase], &found[phrase..]);
        let same = earlier[earlier.len() - repeated..] == later[later.len() - repeated..];
        same && repeated >= 3 * phrase && repeated + phrase >= 16
    })
}

#[test]
fn an_answer_that_repeats_itself_ends_and_says_so() {
    let start = [START, 40];
    let search = Search { start: &start, longest: 26, ..Search::GREEDY };
    let (mut loops, mut others) = (0, 0);
    for number in 0..24 {
        let words = [9 + number, 10 + number % 3, END];
        // One word, two, or none but the end.
        let package = of_few_words(&words[..1 + number as usize % 3]);
        with_generator(&package, Kernels::best(), |generator| {
            let values = features(number);
            let input = Input::Features(&values);
            let mut whole = generator.generate(input, Budget::Task, &search).unwrap();
            while whole.step().unwrap() {}
            let (all, ending) = (whole.tokens().to_vec(), whole.ending().unwrap());
            assert_ne!(ending, Ending::Loop { tokens: all.len() }, "nobody asked");
            let ended = Search { ends_loops: true, ..search };
            let mut answer = generator.again(&ended).unwrap();
            while answer.step().unwrap() {}
            assert!(all.starts_with(answer.tokens()));
            if let Ending::Loop { tokens } = answer.ending().unwrap() {
                assert!(is_loop(answer.tokens(), tokens), "{:?}", answer.tokens());
                assert!(!answer.has_ended());
                loops += 1;
            } else {
                assert_eq!((answer.ending(), answer.tokens()), (Some(ending), &all[..]));
                others += 1;
            }
        });
    }
    assert!(loops > 0 && others > 0, "{loops} loops, {others} others");
}

#[test]
fn the_package_says_what_ids_stand_for() {
    let package = package(WeightType::Int8);
    let model = Model::from_package(&package.parse().unwrap()).unwrap();
    let decoder = model.decoder().unwrap();
    let rules: SpeechRules<'_> = *decoder.speech().unwrap();
    assert_eq!((rules.start, rules.no_speech, rules.without_times), (START, 39, 40));
    assert_eq!((rules.first_time, rules.times, rules.latest_start), (41, 20, LATEST_START));
    let tasks = (rules.previous, rules.transcribe, rules.translate);
    assert_eq!(tasks, (Some(35), Some(37), Some(38)));
    assert_eq!(rules.languages.iter().collect::<Vec<_>>(), LANGUAGES);
    assert_eq!(rules.languages.id("fr"), Some(31));
    assert_eq!(rules.languages.id("de"), None);
    assert_eq!([40, 41, 60, 61].map(|id| rules.time(id)), [None, Some(0), Some(19), None]);
    assert_eq!(SectionKind::from_code(18), Some(SectionKind::Speech));
}
