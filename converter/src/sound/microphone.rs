//! The system's microphone as frames of samples at 16 kHz.

use super::file::RateConverter;
use anyhow::{Context as _, Result, bail};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{ErrorKind, FromSample, SampleFormat, SizedSample, Stream};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Samples that arrive.
type Arrived = Result<Vec<f32>>;

/// The default microphone, open.
pub struct Microphone {
    /// Closes with it.
    _stream: Stream,
    arrived: Receiver<Arrived>,
    converter: RateConverter,
    samples: VecDeque<f32>,
}

impl Microphone {
    /// Opens the microphone that the system names first, at its own rate.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn open() -> Result<Self> {
        let device = cpal::default_host().default_input_device();
        let device = device.context("there is no microphone, or the system names none")?;
        let config = device.default_input_config().context("the microphone cannot be opened")?;
        let (channels, rate) = (usize::from(config.channels()), config.sample_rate());
        let (sender, arrived) = channel();
        let stream = match config.sample_format() {
            SampleFormat::I16 => open::<i16>(&device, config.into(), channels, sender),
            SampleFormat::I32 => open::<i32>(&device, config.into(), channels, sender),
            SampleFormat::U16 => open::<u16>(&device, config.into(), channels, sender),
            SampleFormat::F32 => open::<f32>(&device, config.into(), channels, sender),
            other => bail!("the microphone gives samples of a kind that is not read: {other}"),
        }?;
        stream.play().context("the microphone does not start")?;
        let converter = RateConverter::new(rate)?;
        Ok(Self { _stream: stream, arrived, converter, samples: VecDeque::new() })
    }

    /// Waits for the next samples; always true, for a microphone has no end.
    ///
    /// # Errors
    /// The microphone is gone.
    pub fn next<const N: usize>(&mut self, frame: &mut [f32; N]) -> Result<bool> {
        while self.samples.len() < N {
            let arrived = self.arrived.recv().context("the microphone has stopped")??;
            self.samples.extend(self.converter.convert(&arrived)?);
        }
        frame.iter_mut().zip(self.samples.drain(..N)).for_each(|(slot, sample)| *slot = sample);
        Ok(true)
    }
}

/// A stream of the mean of all channels.
fn open<T: SizedSample>(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    channels: usize,
    sender: Sender<Arrived>,
) -> Result<Stream>
where
    f32: FromSample<T>,
{
    let errors = sender.clone();
    let stream = device.build_input_stream(
        config,
        move |data: &[T], _: &_| {
            let mean = |frame: &[T]| {
                let values = frame.iter().map(|value| f32::from_sample_(*value));
                values.sum::<f32>() / channels as f32
            };
            // Nobody listens any more when it ends.
            let _ = sender.send(Ok(data.chunks_exact(channels).map(mean).collect()));
        },
        move |error| {
            if !matches!(error.kind(), ErrorKind::Xrun | ErrorKind::RealtimeDenied) {
                let _ = errors.send(Err(anyhow::anyhow!("the microphone: {error}")));
            }
        },
        None,
    );
    stream.context("the microphone cannot be opened")
}
