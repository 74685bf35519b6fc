//! Sound files as samples that a model of speech reads: 16 kHz, one channel.
//!
//! WAV, FLAC, MP3 and Ogg Vorbis of any rate and any channels: channels are averaged, then the rate is
//! converted. A file of 16 kHz and one channel of 16 bits has the bits of its samples; a converted rate may
//! differ in the last bits from one CPU to another.

use super::samples::Sound;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, WindowFunction};
use std::fs::File;
use std::path::Path;
use symphonia::core::audio::{AudioSpec, GenericAudioBufferRef};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;

/// Samples a second that are read.
const RATE: u32 = 16_000;
/// Rates of files.
const LEAST_RATE: u32 = 2_000;
const MOST_RATE: u32 = 768_000;
const MOST_CHANNELS: usize = 64;
/// A sample beyond it is damage, not a loud sound: full scale is 1.
const LARGEST: f32 = 16.0;
const KINDS: &str = "WAV, FLAC, MP3 and Ogg Vorbis";
/// What to do with a file that is not read.
const CONVERT: &str = "convert it: ffmpeg -i FILE -ar 16000 -ac 1 sound.wav";

/// The first `most` samples of a sound file, counted at 16 kHz. No more than these are decoded.
///
/// # Errors
/// The file cannot be read, is of a kind that is not supported, is damaged or cut off, or has no samples.
/// The error names the file.
pub(super) fn read(path: &Path, most: usize) -> Result<Sound> {
    let cannot = || format!("cannot read {}", path.display());
    ensure!(!path.is_dir(), "{} is a folder, not a sound file", path.display());
    let file = File::open(path).with_context(cannot)?;
    decode(file, most).with_context(cannot)
}

fn decode(file: File, most: usize) -> Result<Sound> {
    let mut reader = Reader::open(file)?;
    let mut sound = Mono { samples: Vec::new(), spec: None };
    loop {
        let packet = reader.next();
        let packet = packet.with_context(|| format!("after {:.2} s", sound.seconds()))?;
        let Some(packet) = packet else { break };
        sound.add(&packet)?;
        if sound.samples.len() > sound.most(most) {
            break;
        }
    }
    sound.finish(most)
}

/// The one track of a file.
struct Reader {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
}

impl Reader {
    fn open(file: File) -> Result<Self> {
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let format = symphonia::default::get_probe().probe(
            &Hint::new(),
            stream,
            Default::default(),
            Default::default(),
        );
        let format = format.map_err(|error| match error {
            Error::Unsupported(_) => anyhow!("no sound file that is read; {KINDS} are: {CONVERT}"),
            error => damaged(error),
        })?;
        let track =
            format.default_track(TrackType::Audio).context("the file has no track of sound")?;
        let (decoder, track) = (decoder(track)?, track.id);
        Ok(Self { format, decoder, track })
    }

    /// The next samples; none at the end.
    fn next(&mut self) -> Result<Option<GenericAudioBufferRef<'_>>> {
        let packet = loop {
            match self.format.next_packet().map_err(damaged)? {
                Some(packet) if packet.track_id == self.track => break packet,
                Some(_) => {}
                None => {
                    let whole = self.decoder.finalize().verify_ok;
                    ensure!(
                        whole != Some(false),
                        "the file is damaged: its samples have another checksum"
                    );
                    return Ok(None);
                }
            }
        };
        self.decoder.decode(&packet).map(Some).map_err(damaged)
    }
}

fn decoder(track: &Track) -> Result<Box<dyn AudioDecoder>> {
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.context("the file does not say how its sound is coded")?;
    if let Some(channels) = &parameters.channels {
        check_channels(channels.count())?;
    }
    let options = AudioDecoderOptions::default().verify(true);
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options);
    decoder.map_err(|error| {
        anyhow!("its sound is coded in a way that is not read ({error}); {KINDS} are: {CONVERT}")
    })
}

fn check_channels(channels: usize) -> Result<()> {
    ensure!(
        (1..=MOST_CHANNELS).contains(&channels),
        "{channels} channels; 1 to {MOST_CHANNELS} are read"
    );
    Ok(())
}

fn damaged(error: Error) -> anyhow::Error {
    match error {
        Error::ResetRequired => anyhow!("several sounds follow each other in one file: {CONVERT}"),
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            anyhow!("the file ends too early: it is cut, or was written to a pipe; {CONVERT}")
        }
        error => anyhow!("the file is damaged ({error}); to skip what is broken, {CONVERT}"),
    }
}

/// Samples so far, at the file's rate.
struct Mono {
    samples: Vec<f32>,
    spec: Option<AudioSpec>,
}

impl Mono {
    fn rate(&self) -> u32 {
        self.spec.as_ref().map_or(RATE, AudioSpec::rate)
    }

    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate())
    }

    /// So many samples at 16 kHz, at the file's rate.
    fn most(&self, samples: usize) -> usize {
        let samples = (samples as u128 * u128::from(self.rate())).div_ceil(u128::from(RATE));
        usize::try_from(samples).unwrap_or(usize::MAX)
    }

    /// Adds the mean of the channels.
    fn add(&mut self, packet: &GenericAudioBufferRef<'_>) -> Result<()> {
        let spec = packet.spec();
        let rate = spec.rate();
        ensure!(
            (LEAST_RATE..=MOST_RATE).contains(&rate),
            "{rate} samples a second; {LEAST_RATE} to {MOST_RATE} are read"
        );
        check_channels(spec.channels().count())?;
        let first = self.spec.get_or_insert_with(|| spec.clone());
        ensure!(
            first == spec,
            "the rate or the channels change after {:.2} s: {CONVERT}",
            self.seconds()
        );
        let mut values: Vec<f32> = Vec::new();
        packet.copy_to_vec_interleaved(&mut values);
        let channels = spec.channels().count();
        let wrong = values.iter().position(|value| value.is_nan() || value.abs() > LARGEST);
        if let Some(at) = wrong {
            let (sample, value) = (self.samples.len() + at / channels, values[at]);
            bail!("sample {sample} is {value}; full scale is 1: {CONVERT}");
        }
        let frames = values.chunks_exact(channels);
        self.samples.extend(frames.map(|frame| frame.iter().sum::<f32>() / channels as f32));
        Ok(())
    }

    fn finish(mut self, most: usize) -> Result<Sound> {
        ensure!(!self.samples.is_empty(), "the file has no samples");
        let (rate, longest) = (self.rate(), self.most(most));
        let cut = self.samples.len() > longest;
        self.samples.truncate(longest);
        let mut samples = match rate {
            RATE => self.samples,
            _ => convert(&self.samples, rate)?,
        };
        samples.truncate(most);
        Ok(Sound { samples, cut })
    }
}

/// Frames that are converted at once.
const CHUNK: usize = 1024;

/// From `rate` to 16 kHz, by a windowed sinc of 96 periods of the lower rate.
fn converter(rate: u32) -> Result<Async<f32>> {
    let length = 96 * rate.div_ceil(RATE) as usize;
    let filter = SincInterpolationParameters::new(length, WindowFunction::BlackmanHarris2);
    let ratio = f64::from(RATE) / f64::from(rate);
    Ok(Async::<f32>::new_sinc(ratio, 1.0, &filter, CHUNK, 1, FixedAsync::Input)?)
}

/// Samples at 16 kHz.
fn convert(samples: &[f32], rate: u32) -> Result<Vec<f32>> {
    let input = InterleavedSlice::new(samples, 1, samples.len())?;
    Ok(converter(rate)?.process_all(&input, samples.len(), None)?.take_data())
}

/// Samples at 16 kHz of a sound that arrives.
#[cfg(feature = "microphone")]
pub(super) struct RateConverter {
    /// `None` where the rate is that already.
    converter: Option<Async<f32>>,
    /// Samples that do not fill a chunk.
    rest: Vec<f32>,
}

#[cfg(feature = "microphone")]
impl RateConverter {
    pub(super) fn new(rate: u32) -> Result<Self> {
        ensure!(
            (LEAST_RATE..=MOST_RATE).contains(&rate),
            "{rate} samples a second; {LEAST_RATE} to {MOST_RATE} are read"
        );
        let converter = (rate != RATE).then(|| converter(rate)).transpose()?;
        Ok(Self { converter, rest: Vec::new() })
    }

    /// What the samples so far become.
    pub(super) fn convert(&mut self, samples: &[f32]) -> Result<Vec<f32>> {
        let Some(converter) = &mut self.converter else { return Ok(samples.to_vec()) };
        self.rest.extend(samples);
        let (whole, mut found) = (self.rest.len() / CHUNK * CHUNK, Vec::new());
        for chunk in self.rest[..whole].chunks_exact(CHUNK) {
            let input = InterleavedSlice::new(chunk, 1, CHUNK)?;
            found.extend(converter.process(&input, None)?.take_data());
        }
        self.rest.drain(..whole);
        Ok(found)
    }
}
