//! How two embeddings are compared: the names and values of sentence-transformers.

/// How two embeddings are compared; a larger value is closer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Similarity {
    /// The cosine of the angle between them.
    #[default]
    Cosine,
    /// Their product.
    Dot,
    /// The distance, negative.
    Euclidean,
    /// The sum of the distances of the values, negative.
    Manhattan,
}

impl Similarity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    /// Its name in `config_sentence_transformers.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    /// The similarity of two vectors of one length; a vector of zeros has a cosine of 0.
    #[must_use]
    pub fn of(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let product = || pairs().map(|(a, b)| a * b).sum::<f64>();
        let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        match self {
            // As torch.nn.functional.normalize bounds a length.
            Self::Cosine => product() / (length(a).max(1e-12) * length(b).max(1e-12)),
            Self::Dot => product(),
            Self::Euclidean => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Self::Manhattan => -pairs().map(|(a, b)| (a - b).abs()).sum::<f64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Similarity;

    #[test]
    fn the_values_are_those_of_the_library() {
        let (a, b) = ([3.0, 4.0], [0.0, 2.0]);
        let found = Similarity::ALL.map(|own| own.of(&a, &b));
        assert_eq!(found, [0.8, 8.0, -13f64.sqrt(), -5.0]);
        assert_eq!(Similarity::Cosine.of(&[0.0, 0.0], &b), 0.0);
        assert_eq!(
            Similarity::ALL.map(|own| Similarity::from_name(own.name())),
            Similarity::ALL.map(Some)
        );
    }
}
