//! Sound to log-mel features: the reference vectors, their definition in float64, and hostile sounds.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_runtime::audio::{AudioError, Context, Features, LogMel, MEL_80, MEL_128, Mel, POSITION};
use coda_tests::log_mel::{check, filters, reference};
use coda_tests::tolerance::LOG_MEL;
use proptest::prelude::*;
use std::path::Path;

/// A sound between -1 and 1: a sweep with noise, which fades.
fn sound(samples: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut sample = |at: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1 << 23) - 1.0;
        let time = at as f64 / 16_000.0;
        let tone = (2.0 * std::f64::consts::PI * (200.0 + 3000.0 * time) * time).sin();
        ((0.6 * tone + 0.2 * noise) / (1.0 + 4.0 * time)) as f32
    };
    (0..samples).map(&mut sample).collect()
}

/// What `work` does with the features of a sound that is pushed in chunks of a size.
fn features<T>(
    mel: &'static Mel,
    sound: &[f32],
    window: usize,
    context: Context,
    chunk: usize,
    work: impl FnOnce(Features<'_>) -> T,
) -> T {
    let mut buffer = vec![f32::NAN; mel.values(window)];
    let mut features = LogMel::new(mel, &mut buffer);
    sound.chunks(chunk.max(1)).for_each(|chunk| features.push(chunk).unwrap());
    work(features.finish(context).unwrap())
}

fn bits(features: Features<'_>) -> Vec<u32> {
    features.values.iter().map(|value| value.to_bits()).collect()
}

/// The largest distance from the reference, with the number of positions.
fn distance(mel: &'static Mel, sound: &[f32], window: usize, context: Context) -> (f64, usize) {
    features(mel, sound, window, context, usize::MAX, |features| {
        let exact: Vec<f64> = sound.iter().copied().map(f64::from).collect();
        let expected = reference(&exact, features.positions, mel.bins());
        assert_eq!(features.values.len(), expected.len());
        assert_eq!(features.bins, mel.bins());
        let found = features.values.iter().copied().map(f64::from);
        let largest = found.zip(&expected).map(|(found, expected)| (found - expected).abs());
        (largest.fold(0.0, f64::max), features.positions)
    })
}

#[test]
fn features_are_those_of_the_reference_vectors() {
    let file =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/log_mel").join(name);
    let clips = check(&file("seed012.json"), &file("seed012.safetensors")).unwrap();
    assert_eq!(clips, 3, "cut, padded, and at its own length");
}

#[test]
fn features_are_their_definition_in_float64() {
    let mut largest = 0.0f64;
    for samples in [1, 2, 199, 200, 201, 202, 319, 320, 321, 360, 361, 640, 1999, 4800] {
        let sound = sound(samples);
        let least = samples.div_ceil(POSITION);
        for mel in [&MEL_80, &MEL_128] {
            for (context, positions) in [
                (Context::Exact, least),
                (Context::Padded, 17),
                (Context::AtLeast(9), least.max(9)),
            ] {
                let (own, found) = distance(mel, &sound, 17, context);
                assert_eq!(found, positions, "{samples} samples, {context:?}");
                assert!(LOG_MEL.accepts(own, 0.0), "{samples} samples, {context:?}: {own:e}");
                largest = largest.max(own);
            }
        }
    }
    println!("the largest distance from float64 is {largest:e}");
}

#[test]
fn triangles_are_those_of_the_mel_scale() {
    let weights: usize = filters(80).iter().flatten().filter(|weight| **weight > 0.0).count();
    assert_eq!(weights, 391);
    for mel in [&MEL_80, &MEL_128] {
        assert!(Mel::of(mel.bins()).is_some_and(|found| std::ptr::eq(found, mel)));
    }
    assert!(Mel::of(0).is_none() && Mel::of(81).is_none());
}

#[test]
fn chunks_of_any_size_give_the_bits_of_the_whole() {
    let sound = sound(7001);
    for context in [Context::Exact, Context::Padded] {
        let whole = features(&MEL_80, &sound, 40, context, usize::MAX, bits);
        for chunk in [1, 2, 7, 159, 160, 161, 200, 201, 399, 400, 401, 4096] {
            assert_eq!(
                features(&MEL_80, &sound, 40, context, chunk, bits),
                whole,
                "chunks of {chunk}"
            );
        }
    }
}

#[test]
fn samples_of_16_bits_have_the_bits_of_floats() {
    let pcm: Vec<i16> = sound(2000).iter().map(|value| (value * 32_767.0) as i16).collect();
    let pcm = [&[i16::MIN, i16::MAX, 0], &*pcm].concat();
    let floats: Vec<f32> = pcm.iter().map(|value| f32::from(*value) / 32_768.0).collect();
    let mut buffer = vec![0.0; MEL_80.values(7)];
    let mut own = LogMel::new(&MEL_80, &mut buffer);
    own.push_i16(&pcm[..1000]).unwrap();
    own.push_i16(&pcm[1000..]).unwrap();
    let own = bits(own.finish(Context::Exact).unwrap());
    assert_eq!(own, features(&MEL_80, &floats, 7, Context::Exact, 100, bits));
}

#[test]
fn silence_is_the_floor_and_what_is_subnormal_cannot_show() {
    let silence = features(&MEL_80, &[0.0; 960], 5, Context::Padded, 960, bits);
    let (lowest, highest) = (silence.iter().min().unwrap(), silence.iter().max().unwrap());
    assert_eq!(lowest, highest);
    assert!((f32::from_bits(*lowest) + 1.5).abs() < 1e-6, "(log10(1e-10) + 4) / 4");
    let tiny = [f32::from_bits(1), -f32::MIN_POSITIVE / 3.0];
    let tiny: Vec<f32> = tiny.into_iter().cycle().take(960).collect();
    assert_eq!(features(&MEL_80, &tiny, 5, Context::Padded, 960, bits), silence);
    let mut behind = sound(960);
    let alone = features(&MEL_80, &behind, 9, Context::Padded, 960, bits);
    behind.extend(&tiny);
    assert_eq!(features(&MEL_80, &behind, 9, Context::Padded, 960, bits), alone);
}

#[test]
fn a_refused_push_takes_nothing() {
    let sound = sound(640);
    let whole = features(&MEL_80, &sound, 2, Context::Exact, 640, bits);
    let mut buffer = vec![0.0; MEL_80.values(2)];
    let mut own = LogMel::new(&MEL_80, &mut buffer);
    own.push(&sound[..300]).unwrap();
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 16.1, -32_768.0, f32::MAX] {
        assert_eq!(own.push(&[0.5, 0.5, wrong]), Err(AudioError::Sample { index: 302 }), "{wrong}");
    }
    assert_eq!(own.room(), 340);
    let long = Err(AudioError::TooLong { samples: 641, most: 640 });
    assert_eq!(own.push(&[0.5; 341]), long);
    assert_eq!(own.push_i16(&[5; 341]), long);
    own.push(&sound[300..]).unwrap();
    assert_eq!(own.room(), 0);
    assert_eq!(own.push_i16(&[]), Ok(()));
    assert_eq!(bits(own.finish(Context::Exact).unwrap()), whole);
}

#[test]
fn empty_sounds_and_windows_are_refused() {
    let mut buffer = vec![0.0; MEL_80.values(2)];
    for context in [Context::Exact, Context::Padded, Context::AtLeast(1)] {
        let mut own = LogMel::new(&MEL_80, &mut buffer);
        own.push(&[]).unwrap();
        assert_eq!(own.finish(context), Err(AudioError::Empty));
    }
    let mut short = LogMel::new(&MEL_128, &mut buffer[..255]);
    assert_eq!(short.push(&[0.0]), Err(AudioError::TooLong { samples: 1, most: 0 }));
    assert_eq!(short.finish(Context::Padded), Err(AudioError::Empty));
    let error = AudioError::Sample { index: 7 }.to_string();
    assert_eq!(error, "sample 7 of the sound is not a number within -16 to 16: full scale is 1");
    let error = AudioError::TooLong { samples: 641, most: 640 }.to_string();
    assert_eq!(error, "the sound has 641 samples, the window of 2 positions holds 640: cut it");
}

#[test]
fn a_sound_in_work_is_as_large_as_its_documentation_says() {
    assert!(size_of::<LogMel<'_>>() <= 3300, "{} bytes", size_of::<LogMel<'_>>());
}

proptest! {
    #[test]
    fn any_loud_sound_gives_finite_features(
        sound in prop::collection::vec(-16.0f32..=16.0, 1..1300),
        chunk in 1usize..500,
    ) {
        let all = |found: Features<'_>| found.values.iter().all(|value| value.is_finite());
        prop_assert!(features(&MEL_128, &sound, 5, Context::Padded, chunk, all));
    }
}
