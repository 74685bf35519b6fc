//! Encoders that are known, and why they are no point in the configuration.

/// Names in `model_type`, and the reason.
static REFUSED: [(&str, &str); 6] = [
    (
        "gte neobert roformer esm jina_embeddings_v3",
        "its positions are rotary, in a form that is not read",
    ),
    (
        "deberta deberta-v2 xlnet levit layoutlmv3",
        "its attention has a relative position of a kind that the runtime does not compute",
    ),
    (
        "gpt2 gpt_neo gpt_neox opt bloom llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi phi3 \
         falcon",
        "it is a decoder, whose tokens see only those before them; supported are encoders",
    ),
    (
        "bart mbart marian pegasus m2m_100 blenderbot prophetnet",
        "it is an encoder with a decoder; supported are encoders",
    ),
    (
        "swin swinv2 hiera longformer led big_bird funnel reformer",
        "its tokens see only some of the others; supported is attention to all",
    ),
    (
        "convbert convnext convnextv2 resnet segformer mobilevit wav2vec2 hubert wavlm",
        "it has convolutions between its layers, which the runtime does not compute",
    ),
];

/// Why a `model_type` is refused, if it is known.
pub(super) fn reason(model_type: &str) -> Option<&'static str> {
    let is_named = |(names, _): &&(&str, &str)| names.split(' ').any(|name| name == model_type);
    REFUSED.iter().find(is_named).map(|(_, reason)| *reason)
}
