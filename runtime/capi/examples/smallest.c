/* The least that classifies an image: the exit status is the label, or above 100 what failed. */
#include <coda.h>

#include "arena.h" /* from `coda plan model.coda --c` */

extern const unsigned char model[], model_end[], images[]; /* packages.S */

static coda_context context;
static _Alignas(CODA_ARENA_ALIGNMENT) unsigned char arena[CODA_ARENA_BYTES];

int main(void) {
  const unsigned char *image = images + 7 * 28 * 28;
  coda_budget budget = coda_reduction(4);
  coda_output output = {.bytes = sizeof output};
  if (coda_init(&context, sizeof context, model, (size_t)(model_end - model), NULL, 0)) return 101;
  if (coda_start(&context, CODA_MAX_TOKENS, CODA_MAX_SELECTED, arena, sizeof arena)) return 102;
  if (coda_run_pixels(&context, image, 28 * 28, &budget, &output)) return 103;
  return (int)output.label;
}
