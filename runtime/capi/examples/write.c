/* Writes: prints the answer to a text, and to a picture, token by token as it comes; then what a search with three
 * hypotheses finds. The same program for a microcontroller and for Linux. */
#include <coda.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "writing.h" /* CODA_ARENA_BYTES: the larger of both models, from `coda plan MODEL --c` */

extern const unsigned char texts[], texts_end[], pictures[], pictures_end[]; /* writers.S */

static coda_context context;
static coda_generation generation;
static _Alignas(CODA_ARENA_ALIGNMENT) unsigned char arena[CODA_ARENA_BYTES];

static int failed(coda_status status) {
  char message[160];
  if (status == CODA_STATUS_OK) return 0;
  if (coda_error_message(&context, message, sizeof message, NULL) != CODA_STATUS_OK) message[0] = 0;
  printf("failed: %s: %s\n", coda_status_string(status), message);
  return 1;
}

/* Encodes the text, or a picture for a model of pictures, and begins an answer. */
static coda_status begin(const coda_info *info, const coda_search *search) {
  static const char text[] = "the old cat sat on a mat.";
  static uint8_t picture[12 * 12 * 3];
  uint32_t ids[16];
  size_t count, needed;
  coda_budget budget = coda_reduction(2);
  if (info->input == CODA_INPUT_PIXELS) {
    for (size_t i = 0; i < sizeof picture; i++) picture[i] = (uint8_t)(i * 37 % 251);
    return coda_generate_pixels(&context, &generation, picture, sizeof picture, &budget, search);
  }
  coda_status status = coda_tokenize(&context, text, sizeof text - 1, ids, 16, &count, &needed);
  if (status != CODA_STATUS_OK) return status;
  return coda_generate_tokens(&context, &generation, ids, NULL, count, &budget, search);
}

static void print_ids(const char *name, const coda_answer *answer) {
  printf("%s:", name);
  for (size_t i = 0; i < answer->count; i++) printf(" %lu", (unsigned long)answer->tokens[i]);
  printf("\n");
}

/* One hypothesis: its tokens only grow, and the text of the new ones is printed after each step. */
static int write_as_it_comes(const coda_info *info) {
  coda_search search = {.bytes = sizeof search, .beams = 1};
  coda_answer answer = {.bytes = sizeof answer};
  char text[64];
  size_t needed;
  if (failed(begin(info, &search))) return 1;
  printf("text: ");
  for (size_t shown = 0; !answer.over; shown = answer.count) {
    if (failed(coda_step(&context, &generation, &answer))) return 1;
    if (failed(coda_detokenize(&context, answer.tokens, answer.count, shown, answer.over, text, sizeof text, &needed)))
      return 1;
    printf("%s", text);
    fflush(stdout);
  }
  printf("\n");
  print_ids("ids", &answer);
  return 0;
}

static int search_for_the_best(const coda_info *info) {
  coda_search search = {.bytes = sizeof search, .beams = 3};
  coda_answer answer = {.bytes = sizeof answer};
  uint32_t bits;
  if (failed(begin(info, &search))) return 1;
  while (!answer.over)
    if (failed(coda_step(&context, &generation, &answer))) return 1;
  print_ids("best", &answer);
  memcpy(&bits, &answer.score, sizeof bits);
  printf("score: %08lx\n", (unsigned long)bits);
  return 0;
}

static int answer_with(const unsigned char *model, const unsigned char *end) {
  coda_capacity capacity = {.bytes = sizeof capacity, .max_new_tokens = 12, .max_beams = 3};
  coda_info info = {.bytes = sizeof info};
  size_t needed;
  if (failed(coda_init(&context, sizeof context, model, (size_t)(end - model), NULL, 0))) return 1;
  if (failed(coda_get_info(&context, &info))) return 1;
  if (failed(coda_plan_generation(&context, &capacity, &needed)) || needed > sizeof arena) return 1;
  if (failed(coda_start_generation(&context, &generation, sizeof generation, &capacity, arena, needed))) return 1;
  return write_as_it_comes(&info) || search_for_the_best(&info);
}

int main(void) { return answer_with(texts, texts_end) || answer_with(pictures, pictures_end); }
