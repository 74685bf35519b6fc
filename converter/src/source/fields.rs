//! Every field of every file of a model directory that is known, and what becomes of it.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Read, by the families and files that have it.
    Read,
    /// It cannot change the answer.
    Irrelevant,
    /// It changes the answer: refused where it is not read, unless its value is `unless` (JSON) or
    /// empty.
    Refused {
        /// The value that changes nothing.
        unless: &'static str,
        /// What any other would mean.
        because: &'static str,
    },
    /// The same, unless its value is that of another field.
    Same(&'static str),
}

/// Fields of one file with one fate.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// The file.
    pub file: &'static str,
    /// What becomes of them.
    pub fate: Fate,
    /// Their names, with spaces between.
    pub names: &'static str,
}

pub(super) const CONFIG: &str = "config.json";
pub(super) const FULL: &str = "tokenizer.json";
pub(super) const MODEL: &str = "tokenizer.json: model";
pub(super) const NORMALIZER: &str = "tokenizer.json: normalizer";
pub(super) const PRE_TOKENIZER: &str = "tokenizer.json: pre_tokenizer";
pub(super) const POST_PROCESSOR: &str = "tokenizer.json: post_processor";
pub(super) const TRUNCATION: &str = "tokenizer.json: truncation";
pub(super) const TOKENIZER: &str = "tokenizer_config.json";
pub(super) const SPECIAL: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";
/// A token that any of these files has as an object.
pub(super) const TOKEN: &str = "a token in these files";
pub(super) const IMAGE: &str = "preprocessor_config.json";
pub(super) const GENERATION: &str = "generation_config.json";
pub(super) const MODULES: &str = "modules.json";
pub(super) const SENTENCES: &str = "sentence_bert_config.json";
pub(super) const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";
pub(super) const POOLING: &str = "1_Pooling/config.json";
pub(super) const DENSE: &str = "2_Dense/config.json";

const fn read(file: &'static str, names: &'static str) -> Fields {
    Fields { file, fate: Fate::Read, names }
}

const fn irrelevant(file: &'static str, names: &'static str) -> Fields {
    Fields { file, fate: Fate::Irrelevant, names }
}

const fn refused(names: &'static str, unless: &'static str, because: &'static str) -> Fields {
    refused_in(CONFIG, names, unless, because)
}

const fn refused_in(
    file: &'static str,
    names: &'static str,
    unless: &'static str,
    because: &'static str,
) -> Fields {
    Fields { file, fate: Fate::Refused { unless, because }, names }
}

/// What changes an answer that is generated.
const fn not_done(names: &'static str, unless: &'static str) -> Fields {
    let because = "it is not done: take it out if the answers may be without it";
    refused_in(GENERATION, names, unless, because)
}

/// The table.
pub static FIELDS: &[Fields] = &[
    read(
        CONFIG,
        "model_type architectures id2label num_labels problem_type pad_token_id tokenizer_class \
         hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act \
         layer_norm_eps vocab_size max_position_embeddings type_vocab_size \
         dim hidden_dim n_heads n_layers activation \
         d_model d_ff d_kv num_heads num_layers feed_forward_proj is_gated_act dense_act_fn \
         layer_norm_epsilon relative_attention_num_buckets relative_attention_max_distance \
         num_hidden_groups inner_group_num input_embedding_size use_task_id \
         global_attn_every_n_layers local_attention global_rope_theta local_rope_theta layer_types \
         hidden_activation norm_eps norm_bias attention_bias mlp_bias classifier_bias \
         classifier_activation classifier_pooling \
         n_embd n_head n_layer n_inner n_positions activation_function prenorm qkv_proj_bias \
         mlp_fc1_bias mlp_fc2_bias \
         image_size patch_size num_channels qkv_bias query_bias key_bias value_bias proj_bias \
         mlp_ratio use_swiglu_ffn use_gated_mlp layer_scale_init_value \
         use_absolute_position_embeddings use_relative_position_bias \
         use_shared_relative_position_bias use_mean_pooling \
         vision_config text_config vision_use_head projection_size \
         head_dim num_key_value_heads rms_norm_eps pack_qkv \
         layer_norm_type \
         num_mel_bins frequency_stride time_stride max_length \
         num_decoder_layers tie_word_embeddings encoder decoder decoder_layers decoder_attention_heads \
         decoder_ffn_dim use_learned_position_embeddings layernorm_embedding scale_embedding \
         max_source_positions max_target_positions encoder_layers encoder_attention_heads \
         encoder_ffn_dim patch_embed_hidden_size seq_len",
    ),
    refused("position_embedding_type", "\"absolute\"", "supported are absolute positions"),
    refused("is_decoder", "false", "supported are encoders, whose tokens see all others"),
    refused("add_cross_attention", "false", "supported are encoders without cross-attention"),
    refused(
        "cross_attention_hidden_size",
        "null",
        "supported are encoders without cross-attention",
    ),
    refused("pruned_heads", "{}", "supported are layers with all their heads"),
    refused(
        "quantization_config compression_config",
        "null",
        "give the weights from before they were quantised, in f32, f16 or bf16",
    ),
    refused(
        "auto_map",
        "{}",
        "the directory's own code decides what the model computes: supported are the models of \
         the transformers library",
    ),
    refused(
        "rope_theta rope_scaling rope_parameters rotary_emb_base rotary_emb_fraction \
         rotary_emb_scale_base rotary_scaling_factor rotary_emb_interleaved rotary_value \
         rope_type partial_rotary_factor use_rope",
        "null",
        "this family has no rotary positions",
    ),
    refused("num_register_tokens", "0", "this family has no register tokens"),
    refused("attention_type attn_type", "\"original_full\"", "supported is full attention"),
    refused("sliding_window", "null", "this family has no sliding window"),
    refused("alibi use_alibi", "false", "supported are absolute positions"),
    Fields { file: CONFIG, fate: Fate::Same("hidden_size"), names: "embedding_size" },
    refused(
        "causal parallel_block parallel_block_tied_norm scale_attn_by_inverse_layer_idx use_rms_norm \
         logn_attention_scale",
        "false",
        "supported are encoders in which no such thing is done",
    ),
    irrelevant(
        CONFIG,
        "_name_or_path name_or_path _commit_hash _attn_implementation transformers_version \
         torch_dtype dtype use_bfloat16 torchscript gradient_checkpointing return_dict \
         output_attentions output_hidden_states output_past use_cache tf_legacy_loss xla_device \
         attention_probs_dropout_prob hidden_dropout_prob dropout dropout_rate attention_dropout \
         qa_dropout seq_classif_dropout classifier_dropout classifier_dropout_prob \
         activation_dropout embd_pdrop attn_pdrop resid_pdrop summary_first_dropout \
         summary_last_dropout embedding_dropout mlp_dropout drop_path_rate \
         layerdrop initializer_range initializer_factor initializer_cutoff_factor layerscale_value \
         label2id finetuning_task task_specific_params task_params mlm_probability pad_token \
         bos_token_id eos_token_id sep_token_id cls_token_id mask_token_id unk_token_id \
         decoder_start_token_id tie_encoder_decoder \
         is_encoder_decoder directionality pooler_fc_size pooler_num_attention_heads \
         pooler_num_fc_layers pooler_size_per_head pooler_type pooler_act pooler_output_size \
         chunk_size_feed_forward sinusoidal_pos_embds down_scale_factor gap_size net_structure_type \
         num_memory_blocks summary_type summary_use_proj summary_activation summary_proj_to_labels \
         generator_hidden_size use_mask_token encoder_stride apply_layernorm \
         reshape_hidden_states out_features out_indices stage_names decoder_hidden_size \
         decoder_num_attention_heads decoder_num_hidden_layers decoder_intermediate_size mask_ratio \
         norm_pix_loss use_auxiliary_head auxiliary_loss_weight auxiliary_channels \
         auxiliary_num_convs auxiliary_concat_input semantic_loss_ignore_index out_channels \
         pool_scales logit_scale_init_value decoder_bias deterministic_flash_attn \
         reference_compile repad_logits_with_grad sparse_pred_ignore_index sparse_prediction \
         head_hidden_scale gap_head sample_rate n_fft \
         min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty \
         temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size \
         encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores \
         return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values \
         exponential_decay_length_penalty suppress_tokens begin_suppress_tokens prefix \
         use_flash_attn use_memory_efficient_attention unpad_inputs use_xformers fused_bias_fc \
         fused_dropout_add_ln use_fused_mlp pad_vocab_size_multiple language adapters \
         model_max_length max_trained_positions pos_embed_shift pos_embed_jitter pos_embed_rescale \
         pretraining_tp dense_seq_output reorder_and_upcast_attn use_xentropy logn_attention_clip1 \
         use_cls_token projection_dim is_vqa \
         init_std encoder_layerdrop decoder_layerdrop apply_spec_augment mask_time_prob \
         mask_time_length mask_time_min_masks mask_feature_prob mask_feature_length \
         mask_feature_min_masks median_filter_width classifier_proj_size forced_decoder_ids",
    ),
    read(FULL, "model added_tokens normalizer pre_tokenizer post_processor truncation"),
    irrelevant(FULL, "version padding decoder"),
    read(
        MODEL,
        "type vocab unk_token continuing_subword_prefix max_input_chars_per_word merges \
         end_of_word_suffix dropout ignore_merges unk_id byte_fallback fuse_unk",
    ),
    read(
        NORMALIZER,
        "type normalizers clean_text handle_chinese_chars strip_accents lowercase \
         precompiled_charsmap pattern content strip_left strip_right",
    ),
    read(
        PRE_TOKENIZER,
        "type pretokenizers add_prefix_space use_regex replacement prepend_scheme split pattern \
         behavior invert",
    ),
    irrelevant(PRE_TOKENIZER, "trim_offsets str_rep"),
    read(POST_PROCESSOR, "type processors single pair special_tokens cls sep"),
    irrelevant(POST_PROCESSOR, "trim_offsets add_prefix_space"),
    read(TRUNCATION, "direction max_length"),
    irrelevant(TRUNCATION, "strategy stride"),
    read(
        TOKENIZER,
        "tokenizer_class do_lower_case strip_accents tokenize_chinese_chars model_max_length \
         truncation_side split_special_tokens auto_map added_tokens_decoder unk_token cls_token \
         sep_token pad_token mask_token bos_token eos_token additional_special_tokens \
         extra_special_tokens add_prefix_space extra_ids",
    ),
    refused_in(TOKENIZER, "do_basic_tokenize", "true", "words are always split first"),
    refused_in(TOKENIZER, "never_split", "[]", "give such words as added tokens"),
    refused_in(TOKENIZER, "wordpieces_prefix", "\"##\"", "pieces inside a word begin with ##"),
    irrelevant(
        TOKENIZER,
        "name_or_path special_tokens_map_file tokenizer_file vocab_file merges_file \
         clean_up_tokenization_spaces model_input_names processor_class chat_template \
         pad_token_type_id pad_to_multiple_of errors legacy full_tokenizer_file backend is_local \
         use_fast padding padding_side max_length stride truncation_strategy clean_text \
         word_tokenizer_type subword_tokenizer_type do_word_tokenize do_subword_tokenize \
         mecab_kwargs sudachi_kwargs jumanpp_kwargs add_special_tokens \
         add_bos_token add_eos_token trim_offsets sp_model_kwargs keep_accents remove_space \
         do_lowercase",
    ),
    read(
        SPECIAL,
        "unk_token cls_token sep_token pad_token mask_token bos_token eos_token \
         additional_special_tokens extra_special_tokens",
    ),
    read(ADDED, "*"),
    read(TOKEN, "content id special normalized single_word lstrip rstrip"),
    irrelevant(TOKEN, "__type"),
    read(
        IMAGE,
        "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize \
         image_mean image_std default_to_square image_processor_type feature_extractor_type \
         max_patches patch_size is_vqa",
    ),
    refused_in(
        IMAGE,
        "do_pad offset do_flip_channel_order rescale_offset",
        "false",
        "it is not done",
    ),
    refused_in(IMAGE, "crop_pct pad_size", "null", "it is not done"),
    irrelevant(
        IMAGE,
        "processor_class do_convert_rgb do_reduce_labels reduce_labels data_format \
         input_data_format return_tensors device disable_grouping _valid_processor_keys auto_map \
         image_seq_length",
    ),
    read(
        GENERATION,
        "decoder_start_token_id bos_token_id forced_bos_token_id eos_token_id max_new_tokens \
         max_length suppress_tokens begin_suppress_tokens num_beams length_penalty \
         forced_decoder_ids is_multilingual lang_to_id task_to_id no_timestamps_token_id language \
         task max_initial_timestamp_index prev_sot_token_id",
    ),
    not_done("no_repeat_ngram_size encoder_no_repeat_ngram_size min_length min_new_tokens", "0"),
    not_done("repetition_penalty encoder_repetition_penalty", "1.0"),
    not_done("diversity_penalty", "0.0"),
    not_done("num_beam_groups", "1"),
    not_done("do_sample return_timestamps", "false"),
    not_done(
        "bad_words_ids force_words_ids sequence_bias guidance_scale stop_strings \
         exponential_decay_length_penalty prompt_lookup_num_tokens watermarking_config",
        "null",
    ),
    irrelevant(
        GENERATION,
        "_from_model_config transformers_version pad_token_id forced_eos_token_id early_stopping \
         temperature top_k top_p typical_p min_p epsilon_cutoff eta_cutoff penalty_alpha max_time \
         num_return_sequences output_scores output_logits output_attentions output_hidden_states \
         return_dict_in_generate use_cache cache_implementation remove_invalid_values \
         renormalize_logits low_memory return_legacy_cache alignment_heads",
    ),
    read(MODULES, "path type"),
    irrelevant(MODULES, "idx name"),
    read(SENTENCES, "max_seq_length do_lower_case"),
    read(SENTENCE_TRANSFORMERS, "model_type prompts default_prompt_name similarity_fn_name"),
    irrelevant(SENTENCE_TRANSFORMERS, "__version__"),
    read(
        POOLING,
        "word_embedding_dimension embedding_dimension pooling_mode pooling_mode_cls_token \
         pooling_mode_mean_tokens pooling_mode_max_tokens pooling_mode_mean_sqrt_len_tokens \
         pooling_mode_weightedmean_tokens pooling_mode_lasttoken include_prompt",
    ),
    read(
        DENSE,
        "in_features out_features bias activation_function module_input_name module_output_name",
    ),
];

/// What becomes of a field; `None` if it is not known.
fn fate(file: &str, name: &str) -> Option<&'static Fate> {
    let is_named = |row: &&Fields| {
        row.file == file && row.names.split_whitespace().any(|own| own == name || own == "*")
    };
    FIELDS.iter().find(is_named).map(|row| &row.fate)
}

/// The table says that a field is read, or refused where it is not.
pub(super) fn is_read(file: &str, name: &str) -> bool {
    fate(file, name).is_some_and(|fate| *fate != Fate::Irrelevant)
}

/// The first field that changes the answer and was not read, and what is supported.
pub(super) fn refused_field(
    file: &str,
    fields: &Map<String, Value>,
    read: &BTreeSet<String>,
) -> Option<(&'static str, &'static str)> {
    let rows = FIELDS.iter().filter(|row| row.file == file);
    let names = rows.flat_map(|row| row.names.split_whitespace().map(|name| (name, &row.fate)));
    let mut left = names.filter(|(name, _)| !read.contains(*name));
    left.find_map(|(name, fate)| {
        let value = fields.get(name).filter(|value| !is_empty(value))?;
        match *fate {
            Fate::Refused { unless, because } => {
                let unless: Option<Value> = serde_json::from_str(unless).ok();
                (unless.as_ref() != Some(value)).then_some((name, because))
            }
            Fate::Same(other) => {
                let equal = fields.get(other).is_some_and(|other| other == value);
                (!equal).then_some((name, "it must be the hidden size in this family"))
            }
            Fate::Read | Fate::Irrelevant => None,
        }
    })
}

/// Names of fields that the table does not have and that say something, also in the objects that
/// fields hold.
pub(super) fn unknown(file: &str, fields: &Map<String, Value>) -> Vec<String> {
    let says_something = |value: &Value| !is_empty(value) && *value != Value::Bool(false);
    let mut found = Vec::new();
    for (name, value) in fields {
        let shown = name.escape_debug();
        match fate(file, name) {
            None if says_something(value) => found.push(shown.to_string()),
            Some(Fate::Read) => {
                let inner = parts(file, name, value).into_iter();
                let inner = inner.flat_map(|(part, own)| unknown(part, own));
                found.extend(inner.map(|inner| format!("{shown}.{inner}")));
            }
            None | Some(_) => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The objects in a field whose fields the table has, each with the name that they have there.
fn parts<'v>(
    file: &str,
    field: &str,
    value: &'v Value,
) -> Vec<(&'static str, &'v Map<String, Value>)> {
    let named = [MODEL, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, TRUNCATION];
    let named = named.into_iter().find(|part| part.split_once(": ") == Some((file, field)));
    if let Some(part) = named {
        return value.as_object().map(|own| (part, own)).into_iter().collect();
    }
    let list = value.as_array().into_iter().flatten();
    let map = value.as_object().into_iter().flat_map(Map::values);
    let objects = std::iter::once(value).chain(list).chain(map).filter_map(Value::as_object);
    let is_token = |own: &&Map<String, Value>| own.get("content").is_some_and(Value::is_string);
    objects.filter(is_token).map(|own| (TOKEN, own)).collect()
}

/// Null, or a text, list or object with nothing in it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
