//! What a task that prunes tokens asks of its model.

use super::error::ModelError;
use super::packages::Packages;
use crate::config::{AttentionMode, Config, Head, HeadKind, Pooling};

/// A layer prunes its tokens only where those behind it do not ask where a token stood, and where the head
/// finds the tokens that it reads.
pub(super) fn check(packages: &Packages<'_>, head: Option<Head>) -> Result<(), ModelError> {
    let config = &packages.config;
    let prunes = |index: &usize| {
        let routing = packages.routing(*index);
        routing.is_some_and(|routing| routing.attention == AttentionMode::Prune)
    };
    let Some(layer) = (0..config.layers).find(prunes) else { return Ok(()) };
    let refused = |found| Err(ModelError::Pruning { layer, found });
    if asks_for_places(config) {
        return refused("the encoder has positions in its attention");
    }
    let Some(head) = head else { return Ok(()) };
    if matches!(head.kind, HeadKind::TokenClassification { .. }) {
        return refused("the head labels every token");
    }
    let fixed =
        packages.pinned().zip(0..).take_while(|(position, index)| position == index).count();
    match tokens_of_head(config, &head) {
        Some(needed) if needed <= fixed => Ok(()),
        Some(_) => refused("the head reads a first token that is not pinned"),
        None => refused("the head reads the last token"),
    }
}

const fn asks_for_places(config: &Config) -> bool {
    config.relative_distance > 0 || config.rotary.columns > 0 || config.local.distance > 0
}

/// First tokens that a head tells from the others; `None` if it asks for the last one.
fn tokens_of_head(config: &Config, head: &Head) -> Option<usize> {
    let of = |pooling| match pooling {
        Pooling::ClassToken | Pooling::MeanOfRest => Some(1),
        Pooling::SecondToken => Some(2),
        Pooling::MeanOfPatches | Pooling::MeanOfPrefix => Some(config.prefix_tokens()),
        Pooling::LastToken | Pooling::WeightedMean => None,
        Pooling::Max | Pooling::Mean | Pooling::MeanRootLength | Pooling::Attention => Some(0),
    };
    if !cfg!(feature = "heads") {
        return of(head.pooling.plain());
    }
    head.pooling.iter().map(of).try_fold(0, |most, needed| Some(needed?.max(most)))
}
