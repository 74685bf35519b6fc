/* Signed packages and updates over two slots, as a C program has them:
 *   updates tests/golden/bert-int8-v1.0-named.signed
 * Prints a line and exits 0, or exits with the line of the first check that fails. */
#include <coda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT 16384u
#define SECTOR 4096u

static unsigned char flash[2 * SLOT];
static unsigned erases;
static int fails;

#define CHECK(condition)                                            \
  do {                                                              \
    if (!(condition)) {                                             \
      fprintf(stderr, "updates.c: line %d: " #condition "\n", __LINE__); \
      exit(1);                                                      \
    }                                                               \
  } while (0)

static int32_t read_flash(void *user, uint32_t offset, void *to, size_t bytes) {
  (void)user;
  memcpy(to, flash + offset, bytes);
  return fails;
}

static int32_t write_flash(void *user, uint32_t offset, const void *from, size_t bytes) {
  (void)user;
  memcpy(flash + offset, from, bytes);
  return fails;
}

static int32_t erase_flash(void *user, uint32_t from, uint32_t to) {
  (void)user;
  memset(flash + from, 0xff, to - from);
  erases++;
  return fails;
}

/* The public key of RFC 8032, section 7.1, test 1. */
static const uint8_t KEY[32] = {
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};

int main(int count, char **arguments) {
  static _Alignas(64) unsigned char file[16384];
  FILE *input = count == 2 ? fopen(arguments[1], "rb") : NULL;
  CHECK(input != NULL);
  size_t length = fread(file, 1, sizeof file, input);
  fclose(input);
  CHECK(length > 192 && length < sizeof file);

  /* Bundles of product 1, of release 7 or later. */
  coda_trust trust = {.bytes = sizeof trust, .keys = KEY, .key_count = 1, .threshold = 1, .kind = 3,
                      .product = 1, .minimum = 7};
  coda_signed found = {.bytes = sizeof found};
  CHECK(coda_open_signed(&trust, file, length, &found) == CODA_STATUS_OK);
  CHECK(found.release == 7 && found.offset == 192 && found.length == length - 192);
  trust.product = 2;
  CHECK(coda_open_signed(&trust, file, length, &found) == CODA_STATUS_SIGNATURE);
  trust.product = 1;

  void *memory = malloc(coda_updates_bytes());
  CHECK(memory != NULL && coda_updates_alignment() <= _Alignof(max_align_t));
  coda_flash functions = {.bytes = sizeof functions, .read = read_flash, .write = write_flash,
                          .erase = erase_flash, .capacity = sizeof flash, .erase_bytes = SECTOR};
  coda_slots slots = {.bytes = sizeof slots, .starts = {0, SLOT}, .slot_bytes = SLOT, .erases = 2};
  memset(memory, 0, coda_updates_bytes());
  int32_t begun;
  CHECK(coda_updates_offer(memory, SIZE_MAX, file, length, &begun) == CODA_STATUS_NOT_INITIALIZED);
  CHECK(coda_updates_init(memory, coda_updates_bytes() - 1, &functions, &slots, &trust) ==
        CODA_STATUS_STRUCTURE_SIZE);
  CHECK(coda_updates_init(memory, coda_updates_bytes(), &functions, &slots, &trust) == CODA_STATUS_OK);
  CHECK(coda_updates_find(memory, 0, &found) == CODA_STATUS_OUT_OF_RANGE);
  CHECK(coda_updates_write(memory, file, 1) == CODA_STATUS_UPDATE_ORDER);

  CHECK(coda_updates_offer(memory, SIZE_MAX, file, 192, &begun) == CODA_STATUS_OK && begun == 1);
  for (size_t at = 192; at < length; at += 100)
    CHECK(coda_updates_write(memory, file + at, length - at < 100 ? length - at : 100) == CODA_STATUS_OK);
  CHECK(coda_updates_finish(memory, &found) == CODA_STATUS_OK);
  CHECK(memcmp(flash + found.offset, file + 192, found.length) == 0);
  CHECK(coda_updates_confirm(memory) == CODA_STATUS_OK);
  CHECK(coda_updates_find(memory, 0, &found) == CODA_STATUS_OK && found.release == 7);

  /* A replay is nothing to do. */
  for (int replay = 0; replay < 100; replay++)
    CHECK(coda_updates_offer(memory, 0, file, 192, &begun) == CODA_STATUS_OK && begun == 0);
  CHECK(erases == 1);
  file[20] ^= 1;
  CHECK(coda_updates_offer(memory, 0, file, 192, &begun) == CODA_STATUS_SIGNATURE);
  char text[120];
  CHECK(coda_updates_error(memory, text, sizeof text, NULL) == CODA_STATUS_OK);
  printf("updates.c: %s; %zu bytes of memory, %u erase\n", text, coda_updates_bytes(), erases);
  free(memory);
  return 0;
}
