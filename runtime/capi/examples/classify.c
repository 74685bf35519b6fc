/* Classifies images with a bundle, at three reductions. The same program for a microcontroller and for
 * Linux. */
#include <coda.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "arena.h" /* from `coda plan model.coda --c` */

extern const unsigned char model[], model_end[], images[], images_end[]; /* packages.S */

static coda_context context;
static _Alignas(CODA_ARENA_ALIGNMENT) unsigned char arena[CODA_ARENA_BYTES];

static int failed(coda_status status) {
  char message[160];
  if (status == CODA_STATUS_OK) return 0;
  if (coda_error_message(&context, message, sizeof message, NULL) != CODA_STATUS_OK) message[0] = 0;
  printf("failed: %s: %s\n", coda_status_string(status), message);
  return 1;
}

static int print(size_t image, float reduction, const coda_output *output) {
  const char *label;
  size_t bytes;
  if (failed(coda_label(&context, output->label, &label, &bytes))) return 1;
  printf("answer r=%d image=%d %.*s", (int)reduction, (int)image, (int)bytes, label);
  for (size_t i = 0; i < output->count; i++) {
    uint32_t bits;
    memcpy(&bits, &output->values[i], sizeof bits);
    printf(" %08lx", (unsigned long)bits);
  }
  printf("\n");
  return 0;
}

int main(void) {
  static const float reductions[] = {1, 4, 8};
  coda_info info = {.bytes = sizeof info};
  if (failed(coda_init(&context, sizeof context, model, (size_t)(model_end - model), NULL, 0))) return 1;
  if (failed(coda_get_info(&context, &info))) return 1;
  if (failed(coda_start(&context, CODA_MAX_TOKENS, CODA_MAX_SELECTED, arena, sizeof arena))) return 1;
  printf("context %u arena %u\n", (unsigned)sizeof context, (unsigned)sizeof arena);
  for (size_t r = 0; r < sizeof reductions / sizeof *reductions; r++) {
    coda_budget budget = coda_reduction(reductions[r]);
    const unsigned char *image = images;
    for (size_t i = 0; image < images_end; i++, image += info.image_bytes) {
      coda_output output = {.bytes = sizeof output};
      if (failed(coda_run_pixels(&context, image, info.image_bytes, &budget, &output))) return 1;
      if (print(i, reductions[r], &output)) return 1;
    }
  }
  return 0;
}
