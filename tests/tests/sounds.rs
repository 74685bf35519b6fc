//! Sound files: every kind and rate as samples at 16 kHz, and files that are refused.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::sound::{Sound, read};
use coda_runtime::audio::{Context, LogMel, MEL_128};
use coda_tests::tolerance::Tolerance;
use std::f64::consts::PI;
use std::path::{Path, PathBuf};

/// Samples of 30 s.
const WINDOW: usize = 480_000;
/// What a converted rate may add to a tone, and what lossy coding may.
const CONVERTED: Tolerance = Tolerance::Absolute(1e-4);
const LOSSY: Tolerance = Tolerance::Absolute(5e-3);
/// Of amplitudes.
const AMPLITUDE: Tolerance = Tolerance::Relative(5e-3);
const PCM: u16 = 1;
const FLOAT: u16 = 3;

/// A WAV file of 16 kHz and one channel, unless a test changes it.
struct Wav {
    format: u16,
    channels: u16,
    rate: u32,
    bits: u16,
    data: Vec<u8>,
}

impl Wav {
    fn pcm(samples: &[f64], rate: u32) -> Self {
        let data = samples.iter().flat_map(|value| to_i16(*value).to_le_bytes()).collect();
        Self { format: PCM, channels: 1, rate, bits: 16, data }
    }

    fn bytes(&self) -> Vec<u8> {
        let (length, frame) = (self.data.len() as u32, self.channels * self.bits / 8);
        let rate = self.rate.wrapping_mul(u32::from(frame));
        let (format, channels) = (self.format.to_le_bytes(), self.channels.to_le_bytes());
        let fields: [&[u8]; 13] = [
            b"RIFF",
            &(36 + length).to_le_bytes(),
            b"WAVEfmt ",
            &16u32.to_le_bytes(),
            &format,
            &channels,
            &self.rate.to_le_bytes(),
            &rate.to_le_bytes(),
            &frame.to_le_bytes(),
            &self.bits.to_le_bytes(),
            b"data",
            &length.to_le_bytes(),
            &self.data,
        ];
        fields.concat()
    }
}

fn to_i16(value: f64) -> i16 {
    (value * 32_768.0).round() as i16
}

/// Half of full scale.
fn tone(hz: f64, rate: u32, seconds: f64) -> Vec<f64> {
    let samples = (seconds * f64::from(rate)) as usize;
    let angle = |at: usize| 2.0 * PI * hz * at as f64 / f64::from(rate);
    (0..samples).map(|at| 0.5 * angle(at).sin()).collect()
}

/// The amplitude of a tone in samples at 16 kHz, and the root mean square of the rest. The ends, where the
/// tone begins and stops, are left out.
fn amplitude_and_rest(samples: &[f32], hz: f64) -> (f64, f64) {
    let inside = samples.iter().enumerate().take(samples.len() - 400).skip(400);
    let inside: Vec<(f64, f64)> = inside
        .map(|(at, value)| (2.0 * PI * hz * at as f64 / 16_000.0, f64::from(*value)))
        .collect();
    let mean = |of: &dyn Fn(f64, f64) -> f64| {
        inside.iter().map(|(angle, value)| of(*angle, *value)).sum::<f64>() / inside.len() as f64
    };
    let sine = 2.0 * mean(&|angle, value| value * angle.sin());
    let cosine = 2.0 * mean(&|angle, value| value * angle.cos());
    let rest = mean(&|angle, value| (value - sine * angle.sin() - cosine * angle.cos()).powi(2));
    (sine.hypot(cosine), rest.sqrt())
}

fn read_bytes(bytes: &[u8], most: usize) -> anyhow::Result<Sound> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound");
    std::fs::write(&path, bytes).unwrap();
    read(&path, most)
}

/// Why bytes are refused.
fn refusal(bytes: &[u8]) -> String {
    format!("{:#}", read_bytes(bytes, WINDOW).unwrap_err())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sounds").join(name)
}

#[test]
fn samples_of_16_bits_at_16_khz_are_taken_as_they_are() {
    let samples = tone(440.0, 16_000, 0.1);
    let own = read_bytes(&Wav::pcm(&samples, 16_000).bytes(), WINDOW).unwrap();
    let expected: Vec<f32> =
        samples.iter().map(|value| f32::from(to_i16(*value)) / 32_768.0).collect();
    assert_eq!(own, Sound { samples: expected, cut: false });
}

#[test]
fn a_sound_is_cut_where_the_window_ends() {
    for (rate, seconds) in [(16_000, 0.1), (48_000, 0.1), (44_100, 0.1)] {
        let bytes = Wav::pcm(&tone(440.0, rate, seconds), rate).bytes();
        for (most, length, cut) in [(1000, 1000, true), (1600, 1600, false), (WINDOW, 1600, false)]
        {
            let own = read_bytes(&bytes, most).unwrap();
            assert_eq!((own.samples.len(), own.cut), (length, cut), "{rate} Hz, {most} samples");
        }
    }
}

#[test]
fn tones_of_any_rate_keep_their_pitch_and_level() {
    for rate in [2000, 7919, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 768_000] {
        let own = read_bytes(&Wav::pcm(&tone(440.0, rate, 0.5), rate).bytes(), WINDOW).unwrap();
        assert!(own.samples.len().abs_diff(8000) <= 1, "{rate} Hz: {} samples", own.samples.len());
        let (amplitude, rest) = amplitude_and_rest(&own.samples, 440.0);
        assert!(AMPLITUDE.accepts(amplitude, 0.5), "{rate} Hz: amplitude {amplitude}");
        assert!(CONVERTED.accepts(rest, 0.0), "{rate} Hz: {rest:e} beside the tone");
    }
}

#[test]
fn what_16_khz_cannot_hold_is_filtered_out() {
    for (rate, hz) in [(44_100, 10_000.0), (48_000, 9000.0), (96_000, 15_500.0)] {
        let own = read_bytes(&Wav::pcm(&tone(hz, rate, 0.5), rate).bytes(), WINDOW).unwrap();
        let inside = &own.samples[400..own.samples.len() - 400];
        let highest = inside.iter().fold(0.0f32, |highest, value| highest.max(value.abs()));
        assert!(CONVERTED.accepts(f64::from(highest), 0.0), "{hz} Hz at {rate}: {highest:e}");
    }
}

#[test]
fn mp3_flac_and_ogg_are_the_tone_that_was_coded() {
    for (name, tolerance) in [("tone.flac", CONVERTED), ("tone.mp3", LOSSY), ("tone.ogg", LOSSY)] {
        let own = read(&fixture(name), WINDOW).unwrap();
        assert_eq!((own.samples.len(), own.cut), (6400, false), "{name}");
        let (amplitude, rest) = amplitude_and_rest(&own.samples, 440.0);
        assert!(AMPLITUDE.accepts(amplitude, 0.375), "{name}: mean of channels {amplitude}");
        assert!(tolerance.accepts(rest, 0.0), "{name}: {rest:e} beside the tone");
    }
}

#[test]
fn features_of_a_file_are_those_of_its_samples() {
    let own = read(&fixture("tone.flac"), WINDOW).unwrap();
    let mut buffer = vec![0.0; MEL_128.values(50)];
    for (context, frames) in [(Context::Exact, 40), (Context::Padded, 100)] {
        let mut features = LogMel::new(&MEL_128, &mut buffer);
        features.push(&own.samples).unwrap();
        let expected = features.finish(context).unwrap().values;
        assert_eq!(expected.len(), frames * 128);
        assert_eq!(own.features(128, 50, context).unwrap(), expected);
    }
    assert!(own.features(81, 50, Context::Exact).unwrap_err().to_string().contains("81 mel bins"));
    assert!(own.features(80, 19, Context::Exact).unwrap_err().to_string().contains("cut it"));
}

#[test]
fn samples_of_every_width_are_the_same_sound() {
    let samples = tone(440.0, 16_000, 0.1);
    let pack = |format, bits, of: &dyn Fn(f64) -> Vec<u8>| {
        let data = samples.iter().flat_map(|value| of(*value)).collect();
        read_bytes(&Wav { format, channels: 1, rate: 16_000, bits, data }.bytes(), WINDOW).unwrap()
    };
    let wide = |value: f64| ((value * 8_388_608.0) as i32).to_le_bytes()[..3].to_vec();
    for (own, distance) in [
        (pack(FLOAT, 32, &|value| (value as f32).to_le_bytes().to_vec()), 1e-7),
        (pack(FLOAT, 64, &|value| value.to_le_bytes().to_vec()), 1e-7),
        (pack(PCM, 24, &wide), 2e-7),
        (pack(PCM, 8, &|value| vec![(128.0 + 128.0 * value) as u8]), 1e-2),
    ] {
        let found = own.samples.iter().copied().map(f64::from);
        let miss = Tolerance::Absolute(distance).first_miss(found, samples.iter().copied());
        assert_eq!((own.samples.len(), miss), (samples.len(), None));
    }
}

#[test]
fn files_that_are_no_sound_say_what_is_read() {
    let kinds = "WAV, FLAC, MP3 and Ogg Vorbis are: convert it: ffmpeg -i FILE -ar 16000 -ac 1";
    for bytes in [Vec::new(), b"hello, this is text\n".repeat(99), vec![0; 99_999]] {
        let refusal = refusal(&bytes);
        assert!(
            refusal.contains("no sound file that is read") && refusal.contains(kinds),
            "{refusal}"
        );
    }
    let opus = format!("{:#}", read(&fixture("tone.opus"), WINDOW).unwrap_err());
    assert!(
        opus.contains("tone.opus") && opus.contains("coded in a way that is not read"),
        "{opus}"
    );
    assert!(opus.contains(kinds), "{opus}");
    let folder = format!("{:#}", read(&fixture(""), WINDOW).unwrap_err());
    assert!(folder.ends_with("is a folder, not a sound file"), "{folder}");
    assert!(read(&fixture("none.wav"), WINDOW).is_err());
}

#[test]
fn sounds_that_are_empty_or_strange_are_refused() {
    let own = || Wav::pcm(&tone(440.0, 16_000, 0.1), 16_000);
    let float = |value: f32| {
        let data = [0.5f32, value].iter().flat_map(|value| value.to_le_bytes()).collect();
        Wav { format: FLOAT, bits: 32, data, ..own() }
    };
    for (wav, expected) in [
        (Wav { data: Vec::new(), ..own() }, "the file has no samples"),
        (Wav { data: vec![1], ..own() }, "the file has no samples"),
        (Wav { rate: 0, ..own() }, "0 samples a second; 2000 to 768000 are read"),
        (Wav { rate: u32::MAX, ..own() }, "samples a second; 2000 to 768000 are read"),
        (Wav { channels: 0, ..own() }, "invalid channel count"),
        (Wav { channels: 30_000, bits: 8, ..own() }, "invalid channel count"),
        (Wav { bits: 7, ..own() }, "bits per sample"),
        (float(f32::NAN), "sample 1 is NaN; full scale is 1"),
        (float(f32::NEG_INFINITY), "sample 1 is -inf; full scale is 1"),
        (float(-32_768.0), "sample 1 is -32768; full scale is 1"),
    ] {
        let refusal = refusal(&wav.bytes());
        assert!(refusal.contains(expected), "{refusal}, not {expected}");
    }
}

#[test]
fn files_that_end_too_early_are_refused() {
    let wav = Wav::pcm(&tone(440.0, 16_000, 0.1), 16_000).bytes();
    for length in [30, 2000, 2001, 3000] {
        let refusal = refusal(&wav[..length]);
        assert!(refusal.contains("ends too early"), "{length} bytes: {refusal}");
    }
    for name in ["tone.flac", "tone.ogg"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for part in [10, 50, 90] {
            let refusal = refusal(&bytes[..bytes.len() * part / 100]);
            let said = ["ends too early", "damaged"].iter().any(|word| refusal.contains(word));
            assert!(said, "{part} % of {name}: {refusal}");
        }
    }
}

#[test]
fn damaged_files_are_refused_or_read_and_end() {
    for (name, least) in [("tone.mp3", 5), ("tone.flac", 190), ("tone.ogg", 190)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let (mut state, mut refused) = (7u64, 0);
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let mut damaged = bytes.clone();
            let at = (state >> 33) as usize % damaged.len();
            damaged[at..]
                .iter_mut()
                .take(1 + (state >> 20) as usize % 20)
                .for_each(|byte| *byte ^= 0x5a);
            match read_bytes(&damaged, WINDOW) {
                Ok(sound) => assert!(sound.samples.iter().all(|value| value.is_finite())),
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= least, "{name}: {refused} of 200 refused");
    }
}
