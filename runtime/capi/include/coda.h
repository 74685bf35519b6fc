/* coda.h: Conditional Adapters (CoDA) on small machines. Made by cbindgen of runtime/capi; do not edit.
 *
 * The packages and the arena are the caller's; so is the context, of fixed size. Nothing is allocated,
 * nothing is copied but results into the caller's variables, nothing unwinds, nothing needs freeing.
 *
 *   static coda_context context;
 *   size_t needed;
 *   coda_init(&context, sizeof context, base, base_bytes, task, task_bytes);   // or a bundle, NULL, 0
 *   coda_plan(&context, 0, 0, &needed);                                        // exact
 *   coda_start(&context, 0, 0, arena, sizeof arena);
 *   coda_budget budget = coda_reduction(4);
 *   coda_output output = {.bytes = sizeof output};
 *   coda_run_pixels(&context, pixels, sizeof pixels, &budget, &output);
 *   coda_swap_task(&context, other_task, other_task_bytes);                    // same base, same arena
 *
 * Status. Every call that can fail returns a coda_status, 0 for success, and on failure leaves the
 * caller's variables and the context as they were (but for the reason that coda_error_message gives).
 * Null and misaligned pointers, a context that was not initialised, damaged packages, overlapping buffers
 * and senseless numbers all come back as a status. What no library can check stays the caller's duty: that
 * memory of the given length is there, and that packages do not change while they are used. The functions of
 * updates look for no overlaps: what they are given must not overlap their memory.
 *
 * Sizes. A structure begins with its size, which the program sets before a call: a program and a library of
 * other sizes find out (CODA_STATUS_STRUCTURE_SIZE) before anything is written.
 *
 * Updates. The coda_open_signed and coda_updates functions are in a library that was built with the feature
 * `updates` (CMake: CODA_UPDATES). Memory for updates is asked for by coda_updates_bytes and stays in place.
 * Self-tests and the keys of a key list are read by the Rust library only so far: here a program runs inputs of
 * its own on a trial, and names the keys that it trusts in coda_trust.
 *
 * Text out. The coda_generate functions, coda_step and what belongs to them are in a library that was built with
 * the feature `decoder` (CMake: CODA_DECODER). An answer grows token by token between two calls; its text is shown
 * as it comes with the greedy search (beams = 1), whose tokens only grow:
 *
 *   static coda_generation generation;
 *   coda_capacity capacity = {.bytes = sizeof capacity, .max_new_tokens = 40, .max_beams = 1};
 *   coda_plan_generation(&context, &capacity, &needed);                        // exact
 *   coda_start_generation(&context, &generation, sizeof generation, &capacity, arena, sizeof arena);
 *   coda_generate_tokens(&context, &generation, ids, NULL, count, &budget, NULL);
 *   coda_answer answer = {.bytes = sizeof answer};
 *   for (size_t shown = 0; !answer.over; shown = answer.count) {
 *     coda_step(&context, &generation, &answer);
 *     coda_detokenize(&context, answer.tokens, answer.count, shown, answer.over, text, sizeof text, NULL);
 *   }
 *
 * Ownership. Packages must outlive their use by a context. The arena belongs to a context from coda_start
 * to the next coda_start or the last use. Pointers in a coda_output or coda_answer lead into the arena and hold
 * until the next run, step, start or swap; names of labels and kernels lead into packages and the library.
 *
 * Threads. A context is used by one thread or interrupt at a time. Contexts are independent and may
 * share packages; each has its own arena. The library has no global state.
 *
 * Alignment. CODA_ARENA_ALIGNMENT, CODA_PACKAGE_ALIGNMENT; a context is aligned by its type.
 *
 * Numbers. The same package, input and budget give the same bits on every CPU; the flag for flushing
 * subnormal numbers must be off, as it is after reset and in every thread of an operating system.
 */
#ifndef CODA_H
#define CODA_H


#include <stddef.h>
#include <stdint.h>

#if UINTPTR_MAX > 0xffffffffu
#define CODA_64_BIT
#endif

#ifndef CODA_MUST_USE
#if defined(__GNUC__)
#define CODA_MUST_USE __attribute__((warn_unused_result))
#else
#define CODA_MUST_USE
#endif
#endif


/// Raised when a structure or a function changes so that old programs must be compiled again.
#define CODA_ABI 1

/// An arena starts at a multiple of this many bytes.
#define CODA_ARENA_ALIGNMENT 16

/// A package starts at a multiple of this many bytes in memory; 64 is best for vector loads.
#define CODA_PACKAGE_ALIGNMENT 4

#if defined(CODA_64_BIT)
/// Words of a context.
#define CODA_CONTEXT_WORDS 304
#endif

#if !defined(CODA_64_BIT)
/// Words of a context.
#define CODA_CONTEXT_WORDS 192
#endif

#if defined(CODA_64_BIT)
/// Words of a generation.
#define CODA_GENERATION_WORDS 160
#endif

#if !defined(CODA_64_BIT)
/// Words of a generation.
#define CODA_GENERATION_WORDS 88
#endif

/// What a call returns: 0 for success. Numbers keep their meaning; new ones are added at the end.
/// `coda_status_string` gives a short text, `coda_error_message` the sentence with the numbers.
enum coda_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /// Done.
  CODA_STATUS_OK = 0,
  /// A pointer that must not be null is null.
  CODA_STATUS_NULL_POINTER = 1,
  /// A pointer is not aligned for its type, or memory wraps around the address space.
  CODA_STATUS_BAD_POINTER = 2,
  /// Two buffers share bytes that must not.
  CODA_STATUS_OVERLAP = 3,
  /// The context has another size than this library's: header and library are not of one version.
  CODA_STATUS_CONTEXT_SIZE = 4,
  /// The context holds no model: `coda_init` has not succeeded.
  CODA_STATUS_NOT_INITIALIZED = 5,
  /// The context has no arena: `coda_start` has not succeeded.
  CODA_STATUS_NOT_STARTED = 6,
  /// An index is past the end.
  CODA_STATUS_OUT_OF_RANGE = 7,
  /// A number outside its enumeration, a margin below 0, or a cost that is not a number.
  CODA_STATUS_BAD_ARGUMENT = 8,
  /// The package is cut, or has a tail.
  CODA_STATUS_PACKAGE_TRUNCATED = 9,
  /// The bytes are not a package.
  CODA_STATUS_PACKAGE_MAGIC = 10,
  /// The package has a newer format.
  CODA_STATUS_PACKAGE_VERSION = 11,
  /// The package is damaged: the checksum differs.
  CODA_STATUS_PACKAGE_CHECKSUM = 12,
  /// The package does not start at a multiple of `CODA_PACKAGE_ALIGNMENT`.
  CODA_STATUS_PACKAGE_MISALIGNED = 13,
  /// The package breaks a rule of the format.
  CODA_STATUS_PACKAGE_INVALID = 14,
  /// A base where a task belongs, or the like.
  CODA_STATUS_PACKAGE_KIND = 15,
  /// The task was made for another base.
  CODA_STATUS_ANOTHER_BASE = 16,
  /// The packages do not make a model: a tensor is missing or has another shape.
  CODA_STATUS_MODEL_INVALID = 17,
  /// No token, no selected token, or more selected tokens than tokens.
  CODA_STATUS_CAPACITY = 18,
  /// The arena would be larger than the address space.
  CODA_STATUS_TOO_LARGE = 19,
  /// The arena has fewer bytes than `coda_plan` says.
  CODA_STATUS_ARENA_TOO_SMALL = 20,
  /// The arena does not start at a multiple of `CODA_ARENA_ALIGNMENT`.
  CODA_STATUS_ARENA_MISALIGNED = 21,
  /// The input has no token.
  CODA_STATUS_INPUT_EMPTY = 22,
  /// More tokens than the plan or the model holds.
  CODA_STATUS_INPUT_TOO_LONG = 23,
  /// A token id outside the vocabulary.
  CODA_STATUS_INPUT_TOKEN = 24,
  /// A token type that the model does not have.
  CODA_STATUS_INPUT_TYPE = 25,
  /// The image has another size than the model reads.
  CODA_STATUS_INPUT_IMAGE = 26,
  /// Pixels for a model of tokens, or tokens for a model of pixels.
  CODA_STATUS_INPUT_KIND = 27,
  /// The package does not say how pixels are normalised.
  CODA_STATUS_NO_NORMALIZATION = 28,
  /// The budget makes no sense: a reduction below 1, no token, another number of layers.
  CODA_STATUS_BUDGET = 29,
  /// The budget selects more tokens than the plan holds.
  CODA_STATUS_BUDGET_ABOVE_PLAN = 30,
  /// A deadline needs `coda_set_costs`.
  CODA_STATUS_NO_COSTS = 31,
  /// Not even one token in each layer meets the deadline.
  CODA_STATUS_DEADLINE_TOO_SHORT = 32,
  /// The package names no labels.
  CODA_STATUS_NO_LABELS = 33,
  /// The package has no vocabulary.
  CODA_STATUS_NO_TOKENIZER = 34,
  /// The text is not UTF-8.
  CODA_STATUS_TEXT = 35,
  /// This library or CPU has no kernel table of that name.
  CODA_STATUS_NO_KERNELS = 36,
  /// A fault of this library: please report it.
  CODA_STATUS_INTERNAL = 37,
  /// A value of the answer or of a hidden state is NaN or infinite: activations overflowed f32, or
  /// the weights are damaged. The output is as it was: there is no answer and no label.
  CODA_STATUS_NOT_FINITE = 38,
  /// A structure says another size than this library's, or memory is smaller than was asked for.
  CODA_STATUS_STRUCTURE_SIZE = 50,
  /// A package is not signed as the trust says, or is not the one that was signed.
  CODA_STATUS_SIGNATURE = 51,
  /// A function of the flash returned an error.
  CODA_STATUS_FLASH = 52,
  /// The slots do not fit the flash, a package does not fit a slot, or a slot cannot be kept.
  CODA_STATUS_SLOT = 53,
  /// A key has begun as many updates as it may until the next start.
  CODA_STATUS_UPDATES_EXHAUSTED = 54,
  /// There is no update for this call: it was not offered, not finished, or given up.
  CODA_STATUS_UPDATE_ORDER = 55,
  /// The model does not write: the package has no decoder.
  CODA_STATUS_NO_DECODER = 60,
  /// No answer was begun in this generation, or another call with its context has ended it.
  CODA_STATUS_NO_ANSWER = 61,
  /// A start id outside the decoder's vocabulary.
  CODA_STATUS_START_TOKEN = 62,
  /// Start ids and new tokens are more than was planned.
  CODA_STATUS_ANSWER_TOO_LONG = 63,
  /// More hypotheses than were planned.
  CODA_STATUS_BEAMS = 64,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum coda_status coda_status;
#else
typedef int32_t coda_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a model reads.
enum coda_input
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /// Token ids: `coda_run_tokens`.
  CODA_INPUT_TOKENS = 0,
  /// An image: `coda_run_pixels`.
  CODA_INPUT_PIXELS = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum coda_input coda_input;
#else
typedef int32_t coda_input;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a model answers.
enum coda_head
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /// Hidden states only.
  CODA_HEAD_NONE = 0,
  /// A logit for each label.
  CODA_HEAD_CLASSIFICATION = 1,
  /// One vector of the hidden width.
  CODA_HEAD_EMBEDDING = 2,
  /// A logit for each label, for each token: `[tokens, outputs]`, row by row.
  CODA_HEAD_TOKEN_CLASSIFICATION = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum coda_head coda_head;
#else
typedef int32_t coda_head;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How a `coda_budget` counts.
enum coda_budget_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /// As the task says.
  CODA_BUDGET_KIND_TASK = 0,
  /// `k = max(1, ceil(n / reduction))`.
  CODA_BUDGET_KIND_REDUCTION = 1,
  /// `k = tokens`, at most all.
  CODA_BUDGET_KIND_TOKENS = 2,
  /// `k = max(1, ceil(n * fraction))`.
  CODA_BUDGET_KIND_FRACTION = 3,
  /// A reduction for each layer.
  CODA_BUDGET_KIND_PER_LAYER = 4,
  /// As many as are done in time.
  CODA_BUDGET_KIND_DEADLINE = 5,
  /// k for each layer.
  CODA_BUDGET_KIND_TOKENS_PER_LAYER = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum coda_budget_kind coda_budget_kind;
#else
typedef int32_t coda_budget_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Memory of a model, a plan and the last error. It holds no pointer to itself: it may be copied or
/// moved between calls.
typedef struct coda_context {
  /// Not to be touched.
  uint64_t opaque[CODA_CONTEXT_WORDS];
} coda_context;

/// What is known of a model once it is bound.
typedef struct coda_info {
  /// `sizeof` of this structure, set before the call.
  size_t bytes;
  /// What it reads.
  coda_input input;
  /// What it answers.
  coda_head head;
  /// Longest input in tokens, those of an image and its class token included; 0 if nothing bounds
  /// it.
  size_t max_tokens;
  /// Encoder layers.
  size_t layers;
  /// Width of a hidden state.
  size_t hidden;
  /// Values of an answer, or of that of each token: labels, or the width of the embedding; 0
  /// without a head.
  size_t outputs;
  /// Labels that have a name; 0 if the package names none.
  size_t labels;
  /// Every token id is below it; 0 for a model of pixels.
  size_t vocabulary;
  /// Nonzero if `coda_tokenize` works: the base carries its words.
  int32_t tokenizer;
  /// Rows of an image; 0 for a model of tokens, as the next three.
  size_t image_height;
  /// Columns of an image.
  size_t image_width;
  /// Values of a pixel, interleaved.
  size_t image_channels;
  /// Bytes of an image: height, width and channels multiplied.
  size_t image_bytes;
  /// The task's own reduction; 0 if the base runs alone.
  float reduction;
  /// Content id of the base: a task names the base it was made for by it.
  uint8_t base_id[16];
} coda_info;

/// What an inference costs on this machine, in nanoseconds, as `coda bench --calibrate` measures
/// it.
typedef struct coda_costs {
  /// `sizeof` of this structure.
  size_t bytes;
  /// One inference.
  float fixed;
  /// One token of the input.
  float token;
  /// One multiply-accumulate of a frozen linear map.
  float frozen;
  /// One multiply-accumulate of attention scores and context.
  float attention;
  /// One multiply-accumulate of an adapter, a router or low-rank keys.
  float task;
  /// What a deadline sets aside for noise, as a share of the prediction.
  float margin;
} coda_costs;

/// How many of n tokens pass each routed layer. All zero is the task's own budget; `coda_reduction`
/// and the other functions at the end of the header make one.
typedef struct coda_budget {
  /// `sizeof` of this structure, as `coda_reduction` and the others set it; 0 in one that is all zero.
  size_t bytes;
  /// A `coda_budget_kind`.
  int32_t kind;
  /// The reduction (at least 1) or the fraction (above 0, at most 1).
  float value;
  /// The tokens.
  size_t tokens;
  /// A reduction for each layer, dense ones included (and ignored).
  const float *per_layer;
  /// k for each layer, dense ones included (and ignored).
  const size_t *tokens_per_layer;
  /// How many of either there are: as many as the model has layers.
  size_t layers;
  /// The deadline in microseconds.
  uint64_t deadline_us;
} coda_budget;

/// The answer of one inference. The pointers lead into the arena: they hold until the next call
/// with the same context that runs, starts or swaps.
typedef struct coda_output {
  /// `sizeof` of this structure, set before the call.
  size_t bytes;
  /// Logits or the embedding, `[count]`; logits of each token `[tokens, count / tokens]`, row by row.
  const float *values;
  /// How many; 0 without a head.
  size_t count;
  /// Index of the largest logit, the first of equals; `SIZE_MAX` unless the head classifies
  /// the whole input: the label of a token is the largest of its row.
  size_t label;
  /// Hidden states after the last layer, `[tokens, width]`, row by row.
  const float *hidden;
  /// Tokens of the input.
  size_t tokens;
  /// Width of a hidden state.
  size_t width;
  /// k of the routed layers under a deadline, at least; 0 under another budget.
  size_t deadline_tokens;
} coda_output;

/// Whom a device trusts with what. All of it is stated: nothing has a default.
typedef struct coda_trust {
  /// `sizeof` of this structure.
  size_t bytes;
  /// Public keys of 32 bytes each, one behind the other.
  const uint8_t *keys;
  /// How many, 1 to 8.
  size_t key_count;
  /// How many of them must have signed; 1 is usual.
  size_t threshold;
  /// What is taken: 1 bases, 2 tasks, 3 bundles, 4 key lists.
  uint16_t kind;
  /// Which of several of its kind in the device; 0 if there is one.
  uint16_t component;
  /// The owner's number of the product.
  uint64_t product;
  /// The oldest release that is taken; for updates, one above that of a package that the program was built
  /// with.
  uint64_t minimum;
  /// 16 bytes: content id of the base (`coda_info.base_id`), zero for key lists; null takes any.
  const uint8_t *base_id;
} coda_trust;

/// A signed package.
typedef struct coda_signed {
  /// `sizeof` of this structure, set before the call.
  size_t bytes;
  /// Its release.
  uint64_t release;
  /// Where the package begins: in the file, or from the start of the flash.
  size_t offset;
  /// Bytes of the package.
  size_t length;
} coda_signed;

/// Flash of the caller. Each function returns 0, or a number of its own, which ends the call with
/// `CODA_STATUS_FLASH`. Offsets are bytes from the start of the flash.
typedef struct coda_flash {
  /// `sizeof` of this structure.
  size_t bytes;
  /// Handed to the functions.
  void *user;
  /// Reads any bytes.
  int32_t (*read)(void *user, uint32_t offset, void *to, size_t bytes);
  /// Writes a multiple of 64 bytes at a multiple of 64.
  int32_t (*write)(void *user, uint32_t offset, const void *from, size_t bytes);
  /// Erases from one offset to another, both multiples of `erase_bytes`.
  int32_t (*erase)(void *user, uint32_t from, uint32_t to);
  /// Bytes of the flash.
  uint32_t capacity;
  /// Bytes of a sector: a multiple of 64.
  uint32_t erase_bytes;
} coda_flash;

/// Where two slots are, and how often a key may begin an update between two starts of the device.
typedef struct coda_slots {
  /// `sizeof` of this structure.
  size_t bytes;
  /// Offset of each slot in the flash.
  uint32_t starts[2];
  /// Bytes of each: whole sectors.
  uint32_t slot_bytes;
  /// Updates that each key may begin.
  uint8_t erases;
} coda_slots;

/// The largest call and answer that an arena must hold. What is 0 is as the package says.
typedef struct coda_capacity {
  /// `sizeof` of this structure.
  size_t bytes;
  /// Longest input in tokens; 0 for the longest of the model.
  size_t max_tokens;
  /// Tokens that pass a routed layer; 0 for any budget.
  size_t max_selected;
  /// Most new tokens of an answer, behind the package's start ids; start ids of a call beyond so many count as
  /// new tokens. 0 for the package's number.
  size_t max_new_tokens;
  /// Most hypotheses of a search, up to 16; 0 for the package's number.
  size_t max_beams;
} coda_capacity;

/// Memory of an answer between two calls; what is large lies in the arena. It stays in place while an answer
/// grows; before `coda_start_generation` and after an answer it may be moved.
typedef struct coda_generation {
  /// Not to be touched.
  uint64_t opaque[CODA_GENERATION_WORDS];
} coda_generation;

/// How an answer is searched for. What is 0 or null is as the package says, and a null pointer in place of this
/// structure is all of it as the package says.
typedef struct coda_search {
  /// `sizeof` of this structure.
  size_t bytes;
  /// Ids that the answer begins with, in place of the package's.
  const uint32_t *start;
  /// How many.
  size_t start_count;
  /// Most new tokens.
  size_t max_new_tokens;
  /// Hypotheses; 1 is greedy, and its text may be shown as it comes.
  size_t beams;
  /// Nonzero if `length_penalty` is to be used.
  int32_t has_length_penalty;
  /// A hypothesis' log-probability is divided by its length to this power.
  float length_penalty;
} coda_search;

/// An answer so far. The pointer leads into the arena: it holds until the next call with the same generation or
/// context that steps, generates, runs, starts or swaps.
typedef struct coda_answer {
  /// `sizeof` of this structure, set before the call.
  size_t bytes;
  /// New tokens of the best hypothesis, `[count]`; start ids and the end left out. With one hypothesis they only
  /// grow.
  const uint32_t *tokens;
  /// How many.
  size_t count;
  /// The log-probability of the best hypothesis that has ended, over its length to the power of the penalty; NaN
  /// before one has, and with one hypothesis, which needs none.
  float score;
  /// Nonzero if there is no further token.
  int32_t over;
  /// Nonzero if the answer has ended by its end id, and not by its length.
  int32_t ended;
  /// k of the encoder's routed layers under a deadline, at least; 0 under another budget.
  size_t deadline_tokens;
} coda_answer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of this library, as "0.1.0".
const char *coda_version(void);

/// The `CODA_ABI` of this library; a program compares it with the header's when the library is
/// shared.
uint32_t coda_abi(void);

/// Bytes of a context in this library: `sizeof(coda_context)`.
size_t coda_context_bytes(void);

/// Alignment of a context in this library.
size_t coda_context_alignment(void);

/// A short text for a status, never null: "unknown status" for other numbers.
const char *coda_status_string(int32_t status);

/// The last error of a context as a sentence with its numbers, such as "the arena has 100 bytes,
/// the plan needs 170520". A call that succeeds leaves it as it was.
///
/// Writes at most `bytes` bytes to `text`, the last a zero, and to `needed` the bytes of the whole
/// sentence with its zero. `text` may be null if `bytes` is 0; `needed` may be null.
CODA_MUST_USE
coda_status coda_error_message(const struct coda_context *context,
                               char *text,
                               size_t bytes,
                               size_t *needed);

/// Binds packages to a model. `context_bytes` is `sizeof *context`.
///
/// `base` is a base or a bundle. `task` is a task made for that base, in place of the bundle's own;
/// null with 0 bytes for the bundle's task, or to run a base alone. Both are checked whole, which
/// reads every byte once; nothing is copied. They stay the caller's and must stay where they are,
/// unchanged, while the context is used; any number of contexts may share them.
///
/// On an error the context keeps the reason for `coda_error_message`, and nothing else. There is
/// nothing to free: a context is dropped by not using it, and may be initialised again at any time.
CODA_MUST_USE
coda_status coda_init(struct coda_context *context,
                      size_t context_bytes,
                      const void *base,
                      size_t base_bytes,
                      const void *task,
                      size_t task_bytes);

/// What the model reads and answers.
CODA_MUST_USE coda_status coda_get_info(const struct coda_context *context, struct coda_info *info);

/// Bytes of the arena, exactly, for inputs of up to `max_tokens` tokens of which up to
/// `max_selected` pass a routed layer. 0 stands for the longest input of the model, and for any
/// budget. The same number as `coda plan` prints.
CODA_MUST_USE
coda_status coda_plan(struct coda_context *context,
                      size_t max_tokens,
                      size_t max_selected,
                      size_t *arena_bytes);

/// Gives the context its arena, planned as by `coda_plan` with the same numbers. `arena` starts at
/// a multiple of `CODA_ARENA_ALIGNMENT`. It is the context's until another start; what it held is
/// lost. May be called again, with another arena or other numbers.
CODA_MUST_USE
coda_status coda_start(struct coda_context *context,
                       size_t max_tokens,
                       size_t max_selected,
                       void *arena,
                       size_t arena_bytes);

/// Puts another task on the same base between two inferences: the base is neither read again nor
/// copied, the arena stays. Null with 0 bytes runs the base alone. On any error the task before
/// goes on. `CODA_STATUS_ARENA_TOO_SMALL` if the new task needs more: start with the largest of all
/// tasks.
CODA_MUST_USE
coda_status coda_swap_task(struct coda_context *context,
                           const void *task,
                           size_t task_bytes);

/// What an inference costs on this machine, for `coda_deadline_us`.
CODA_MUST_USE
coda_status coda_set_costs(struct coda_context *context,
                           const struct coda_costs *costs);

/// The name of the kernel table in use, such as "mve": not zero-terminated, `bytes` long, valid for
/// ever.
CODA_MUST_USE
coda_status coda_kernels(const struct coda_context *context,
                         const char **name,
                         size_t *bytes);

/// Uses another kernel table than the fastest of this CPU. Every table gives the same bits.
CODA_MUST_USE
coda_status coda_use_kernels(struct coda_context *context,
                             const char *name,
                             size_t bytes);

/// Runs one inference on `count` token ids, each below the vocabulary. `types` has a token type for
/// each id, or is null for type 0 throughout. `budget` may be null: the task's own.
///
/// At one number of tokens and one budget the work does not depend on the data. Everything is
/// checked before any work, but for `CODA_STATUS_NOT_FINITE`, which comes in place of an answer.
CODA_MUST_USE
coda_status coda_run_tokens(struct coda_context *context,
                            const uint32_t *ids,
                            const uint8_t *types,
                            size_t count,
                            const struct coda_budget *budget,
                            struct coda_output *output);

/// Runs one inference on an image: rows of interleaved channels, one byte a value,
/// `coda_info.image_bytes` in all. The package says how pixels are normalised. `budget` may be
/// null: the task's own.
CODA_MUST_USE
coda_status coda_run_pixels(struct coda_context *context,
                            const uint8_t *pixels,
                            size_t bytes,
                            const struct coda_budget *budget,
                            struct coda_output *output);

/// The name of class `index`: UTF-8, not zero-terminated, `bytes` long, in the package.
CODA_MUST_USE
coda_status coda_label(const struct coda_context *context,
                       size_t index,
                       const char **text,
                       size_t *bytes);

/// Token ids of a UTF-8 text, as Hugging Face tokenizers makes them, with the special ones around
/// it.
///
/// Writes up to `capacity` ids, to `count` how many it wrote, and to `needed` how many the whole
/// text has: if that is more, the text was cut and the last id is still the separator. With a
/// capacity of 0 `ids` may be null.
CODA_MUST_USE
coda_status coda_tokenize(const struct coda_context *context,
                          const char *text,
                          size_t text_bytes,
                          uint32_t *ids,
                          size_t capacity,
                          size_t *count,
                          size_t *needed);

/// Token ids and types of a pair of texts: as `coda_tokenize`, with type 0 up to the first
/// separator and 1 after it. If both do not fit, the longer one is cut.
CODA_MUST_USE
coda_status coda_tokenize_pair(const struct coda_context *context,
                               const char *first,
                               size_t first_bytes,
                               const char *second,
                               size_t second_bytes,
                               uint32_t *ids,
                               uint8_t *types,
                               size_t capacity,
                               size_t *count,
                               size_t *needed);

/// Checks a signed package that lies in memory, as a whole, and says where in it the package is.
/// `CODA_STATUS_SIGNATURE` if it is not what `trust` takes.
CODA_MUST_USE
coda_status coda_open_signed(const struct coda_trust *trust,
                             const void *file,
                             size_t file_bytes,
                             struct coda_signed *signed_);

/// Bytes of memory that updates need.
size_t coda_updates_bytes(void);

/// Alignment of that memory.
size_t coda_updates_alignment(void);

/// Prepares updates of what `trust` takes, in `memory` of at least `coda_updates_bytes()` bytes, which must not
/// be moved from then on. Nothing is read or written of the flash.
CODA_MUST_USE
coda_status coda_updates_init(void *memory,
                              size_t memory_bytes,
                              const struct coda_flash *flash,
                              const struct coda_slots *slots,
                              const struct coda_trust *trust);

/// Looks for the packages in the slots, the newest first: `index` 0, then 1. Each byte is read and checked, and
/// an update that is under way is given up. `CODA_STATUS_OUT_OF_RANGE` if there are not so many. Whether one is
/// a package for the device is for the caller to say, who takes the first that is.
CODA_MUST_USE
coda_status coda_updates_find(void *memory,
                              size_t index,
                              struct coda_signed *signed_);

/// Reads the envelopes at the start of an update, 192 bytes for each key that must have signed. `in_use` is the
/// index of the package that the device runs, as of the last `coda_updates_find`; `SIZE_MAX` if it runs none of
/// them, but one that it was built with: then the newest in the slots is looked for, compared with and kept.
/// The release of the one that it was built with is not known here: `minimum` must be one above it, or an older
/// one may come.
///
/// `begun` becomes 1 if an update has begun, whose package is to come by `coda_updates_write`; 0 if the
/// envelopes are those of the package in use, or of one that was confirmed since `coda_updates_init`: there is
/// nothing to do. Everything that can be refused is refused before the first erase. A later release overwrites
/// the slot that is not in use, also if that one was confirmed and does not run yet.
CODA_MUST_USE
coda_status coda_updates_offer(void *memory,
                               size_t in_use,
                               const void *envelopes,
                               size_t envelope_bytes,
                               int32_t *begun);

/// Takes the next piece of the package, of any length.
CODA_MUST_USE coda_status coda_updates_write(void *memory, const void *piece, size_t bytes);

/// Reads the package back from the flash, checks that it is the one that was signed, and says where it is. It
/// is on trial then: bind it, run inputs whose answers are known, and confirm it. On an error the update is given up.
CODA_MUST_USE
coda_status coda_updates_finish(void *memory,
                                struct coda_signed *signed_);

/// Makes the package on trial the newest. Without it the package before is in use at the next start.
CODA_MUST_USE
coda_status coda_updates_confirm(void *memory);

/// Gives up an update or a trial.
CODA_MUST_USE coda_status coda_updates_cancel(void *memory);

/// The last error of updates as a sentence, as `coda_error_message` gives that of a context; empty if there was
/// none yet. It speaks of signatures, slots and the flash; other statuses have a short text only.
CODA_MUST_USE
coda_status coda_updates_error(void *memory,
                               char *text,
                               size_t bytes,
                               size_t *needed);

/// Bytes of a generation in this library: `sizeof(coda_generation)`.
size_t coda_generation_bytes(void);

/// Bytes of the arena of answers, exactly; `capacity` may be null, which is all as the package says.
/// `CODA_STATUS_NO_DECODER` if the model does not write.
CODA_MUST_USE
coda_status coda_plan_generation(struct coda_context *context,
                                 const struct coda_capacity *capacity,
                                 size_t *arena_bytes);

/// Prepares `generation` for answers of a context's model in `arena`, planned as by `coda_plan_generation` with
/// the same capacity. `generation_bytes` is `sizeof *generation`. The arena is its own until another start; it may
/// be that of `coda_start`, as a run of the context ends an answer. After a swap of tasks it is planned anew:
/// `CODA_STATUS_ARENA_TOO_SMALL` of a generate if the new task needs more.
CODA_MUST_USE
coda_status coda_start_generation(struct coda_context *context,
                                  struct coda_generation *generation,
                                  size_t generation_bytes,
                                  const struct coda_capacity *capacity,
                                  void *arena,
                                  size_t arena_bytes);

/// Begins an answer to `count` token ids; arguments as of `coda_run_tokens`. `coda_step` adds to it. The encoder
/// runs here, under `budget`; null is the task's own. `search` may be null: the package's.
///
/// Everything is checked before any work, but for `CODA_STATUS_NOT_FINITE`. A context is at one answer: another
/// one, a run, a start and a swap end it.
CODA_MUST_USE
coda_status coda_generate_tokens(struct coda_context *context,
                                 struct coda_generation *generation,
                                 const uint32_t *ids,
                                 const uint8_t *types,
                                 size_t count,
                                 const struct coda_budget *budget,
                                 const struct coda_search *search);

/// Begins an answer to an image; arguments as of `coda_run_pixels` and `coda_generate_tokens`.
CODA_MUST_USE
coda_status coda_generate_pixels(struct coda_context *context,
                                 struct coda_generation *generation,
                                 const uint8_t *pixels,
                                 size_t bytes,
                                 const struct coda_budget *budget,
                                 const struct coda_search *search);

/// One more token for every hypothesis, and the answer with it. When there is none, `over` of the answer is
/// nonzero: the answer has ended, or is as long as was asked for; a further step does nothing.
/// `CODA_STATUS_NO_ANSWER` if none was begun, or another call has ended it. After `CODA_STATUS_NOT_FINITE` the
/// answer is over and has no token more.
CODA_MUST_USE
coda_status coda_step(struct coda_context *context,
                      struct coda_generation *generation,
                      struct coda_answer *answer);

/// The answer as it is.
CODA_MUST_USE
coda_status coda_get_answer(struct coda_context *context,
                            struct coda_generation *generation,
                            struct coda_answer *answer);

/// The text that ids from `from` on add to that of the ids before them: with `from` 0 the text of all, with
/// `from` = `count` - 1 what the last one adds. A character whose bytes are spread over several tokens is
/// written when its last byte is there; with `last` nonzero one that is not whole becomes U+FFFD, as nothing
/// follows. Special tokens are passed over.
///
/// Writes at most `bytes` bytes of UTF-8 to `text`, the last a zero, and to `needed` the bytes of the whole text
/// with its zero: if that is more, the text was cut. `text` may be null if `bytes` is 0; `needed` may be null.
/// `CODA_STATUS_NO_TOKENIZER` if the package has no vocabulary, `CODA_STATUS_OUT_OF_RANGE` if `from` is above
/// `count`.
CODA_MUST_USE
coda_status coda_detokenize(const struct coda_context *context,
                            const uint32_t *ids,
                            size_t count,
                            size_t from,
                            int32_t last,
                            char *text,
                            size_t bytes,
                            size_t *needed);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Budgets: how many of n tokens pass each routed layer. */

static inline coda_budget coda_budget_of(coda_budget_kind kind) {
  coda_budget budget;
  budget.bytes = sizeof budget;
  budget.kind = (int32_t)kind;
  budget.value = 0.0f;
  budget.tokens = 0;
  budget.per_layer = NULL;
  budget.tokens_per_layer = NULL;
  budget.layers = 0;
  budget.deadline_us = 0;
  return budget;
}

/* k = max(1, ceil(n / reduction)); at least 1. */
static inline coda_budget coda_reduction(float reduction) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_REDUCTION);
  budget.value = reduction;
  return budget;
}

/* k = tokens, at most all. */
static inline coda_budget coda_tokens(size_t tokens) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_TOKENS);
  budget.tokens = tokens;
  return budget;
}

/* k = max(1, ceil(n * fraction)); above 0, at most 1. */
static inline coda_budget coda_fraction(float fraction) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_FRACTION);
  budget.value = fraction;
  return budget;
}

/* A reduction for each layer of the model, dense ones included (and ignored). */
static inline coda_budget coda_per_layer(const float *reductions, size_t layers) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_PER_LAYER);
  budget.per_layer = reductions;
  budget.layers = layers;
  return budget;
}

/* k for each layer of the model, at most all; dense ones included (and ignored). */
static inline coda_budget coda_tokens_per_layer(const size_t *tokens, size_t layers) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_TOKENS_PER_LAYER);
  budget.tokens_per_layer = tokens;
  budget.layers = layers;
  return budget;
}

/* As many tokens as are done in time, by coda_set_costs. */
static inline coda_budget coda_deadline_us(uint64_t microseconds) {
  coda_budget budget = coda_budget_of(CODA_BUDGET_KIND_DEADLINE);
  budget.deadline_us = microseconds;
  return budget;
}

#endif /* CODA_H */
