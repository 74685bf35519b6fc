//! How texts are cut, and what is put before them.

use crate::similarity::Similarity;
use coda_runtime::format::encode_text;

/// How texts are cut, and what is put before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextSettings {
    /// Longest text in tokens, the special ones included; 0 for no bound beside the positions.
    pub longest: usize,
    /// Names and texts of the prompts.
    pub prompts: Vec<(String, String)>,
    /// The prompt that a text gets unless another is asked for.
    pub default_prompt: Option<usize>,
    /// How embeddings are to be compared.
    pub similarity: Similarity,
}

impl TextSettings {
    /// The text section of a package; `None` where there is nothing to say.
    #[must_use]
    pub fn section(&self) -> Option<Vec<u8>> {
        if self.longest == 0 && self.prompts.is_empty() {
            return None;
        }
        let strings = self.prompts.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
        let strings: Vec<&str> = strings.collect();
        Some(encode_text(self.longest, self.default_prompt, &strings).collect())
    }
}
