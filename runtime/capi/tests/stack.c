/* Linked beside the main function of a Cortex-M program: says how deep its stack went. The free memory
 * below the stack is painted before main; after it, the paint that is left is counted. */
#include <stdint.h>
#include <stdio.h>

extern uint32_t __heap_start[], __stack[]; /* of picolibc's linker script */

#define PAINT 0x5aa55aa5u

__attribute__((constructor)) static void paint(void) {
  volatile uint32_t here;
  uint32_t *end = (uint32_t *)((uintptr_t)&here - 256);
  for (volatile uint32_t *word = __heap_start; word < (volatile uint32_t *)end; word++) *word = PAINT;
}

__attribute__((destructor)) static void report(void) {
  const volatile uint32_t *word = __heap_start;
  while (word < __stack && *word == PAINT) word++;
  printf("stack %u\n", (unsigned)((uintptr_t)__stack - (uintptr_t)word));
}
