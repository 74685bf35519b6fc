//! The self-test section: inputs and their answers to the bit.

use super::codec::{size_at, u32_at};
use super::error::FormatError;
use super::layout::{SectionKind, limits, self_test};

/// Inputs and their answers, borrowed in place.
#[derive(Clone, Copy, Debug)]
pub struct SelfTest<'a> {
    cases: usize,
    pixels: bool,
    bytes: &'a [u8],
}

/// The input of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseInput<'a> {
    /// Token ids, all of type 0.
    Tokens(&'a [u32]),
    /// Rows of interleaved channels, one byte a value.
    Pixels(&'a [u8]),
}

/// An input and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTestCase<'a> {
    /// The input.
    pub input: CaseInput<'a>,
    /// k of each routed layer; 0 for the task's own budget.
    pub selected: usize,
    /// The bits of the answer's values.
    pub values: &'a [u32],
}

impl<'a> SelfTest<'a> {
    /// Checks `bytes`, the whole section.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let kind = SectionKind::SelfTest;
        let Some((_, rest)) = bytes.split_at_checked(self_test::CASES) else {
            return Err(FormatError::SectionLength { kind, found: bytes.len() });
        };
        let (cases, input) = (size_at(bytes, self_test::COUNT), u32_at(bytes, self_test::INPUT));
        if cases == 0 || cases > limits::SELF_TEST_CASES {
            return Err(FormatError::InvalidField { kind, offset: self_test::COUNT.start });
        }
        if input != self_test::TOKENS && input != self_test::PIXELS {
            return Err(FormatError::InvalidField { kind, offset: self_test::INPUT.start });
        }
        let test = Self { cases, pixels: input == self_test::PIXELS, bytes: rest };
        let mut left = rest;
        for _ in 0..cases {
            let offset = bytes.len() - left.len();
            let case = test.case(left).ok_or(FormatError::InvalidField { kind, offset })?;
            left = case.1;
        }
        if left.is_empty() {
            Ok(test)
        } else {
            Err(FormatError::SectionLength { kind, found: bytes.len() })
        }
    }

    /// The case at the start of `bytes`, and what is behind it.
    fn case(&self, bytes: &'a [u8]) -> Option<(SelfTestCase<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(self_test::CASE_BYTES)?;
        let (inputs, values) = (size_at(head, self_test::INPUTS), size_at(head, self_test::VALUES));
        if inputs == 0 || values == 0 {
            return None;
        }
        let (input, rest) = if self.pixels {
            let (pixels, rest) = rest.split_at_checked(inputs)?;
            let (padding, rest) = rest.split_at_checked(inputs.wrapping_neg() % 4)?;
            padding.iter().all(|byte| *byte == 0).then_some((CaseInput::Pixels(pixels), rest))?
        } else {
            let (ids, rest) = words(rest, inputs)?;
            (CaseInput::Tokens(ids), rest)
        };
        let (values, rest) = words(rest, values)?;
        let finite = values.iter().all(|bits| f32::from_bits(*bits).is_finite());
        let case = SelfTestCase { input, selected: size_at(head, self_test::SELECTED), values };
        finite.then_some((case, rest))
    }

    /// Every case.
    pub fn cases(&self) -> impl Iterator<Item = SelfTestCase<'a>> + use<'a> {
        let (test, mut left) = (*self, self.bytes);
        (0..self.cases).map_while(move |_| {
            let case = test.case(left)?;
            left = case.1;
            Some(case.0)
        })
    }
}

/// The first `count` words of `bytes`, and what is behind them.
fn words(bytes: &[u8], count: usize) -> Option<(&[u32], &[u8])> {
    let (words, rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
    Some((bytemuck::try_cast_slice(words).ok()?, rest))
}

/// The bytes of a section, for a writer: cases of one kind of input, at least one.
pub fn encode_self_test<'s>(cases: &'s [SelfTestCase<'s>]) -> impl Iterator<Item = u8> + 's {
    let pixels = matches!(cases.first(), Some(SelfTestCase { input: CaseInput::Pixels(_), .. }));
    let input = if pixels { self_test::PIXELS } else { self_test::TOKENS };
    let head = [cases.len() as u32, input].map(u32::to_le_bytes);
    head.into_iter().flatten().chain(cases.iter().flat_map(encode_case))
}

fn encode_case<'s>(case: &SelfTestCase<'s>) -> impl Iterator<Item = u8> + use<'s> {
    let (ids, pixels): (&[u32], &[u8]) = match case.input {
        CaseInput::Tokens(ids) => (ids, &[]),
        CaseInput::Pixels(pixels) => (&[], pixels),
    };
    let inputs = ids.len() + pixels.len();
    let head = [inputs as u32, case.selected as u32, case.values.len() as u32];
    let padding = core::iter::repeat_n(0, pixels.len().wrapping_neg() % 4);
    let bytes = |words: &'s [u32]| words.iter().flat_map(|word| word.to_le_bytes());
    let head = head.map(u32::to_le_bytes).into_iter().flatten();
    head.chain(bytes(ids)).chain(pixels.iter().copied()).chain(padding).chain(bytes(case.values))
}
