// Classifies one image of Fashion-MNIST. Needs 540 KB of flash and 171 KB of RAM: Teensy 4.1, STM32H7.
#include <CodaEdge.h>

#include "model.h"  // made by make.sh: model[], image[], CODA_ARENA_BYTES

static coda::Model net;
static coda::Arena<CODA_ARENA_BYTES> arena;

static bool good(coda::Status status) {
  std::array<char, 160> text;
  if (!status.ok()) Serial.println(net.error(text));
  return status.ok();
}

void setup() {
  Serial.begin(115200);
  if (!good(net.init({model, sizeof model}))) return;
  if (!good(net.start(arena))) return;
  auto answer = net.run_pixels(image, sizeof image, coda_reduction(4));
  if (!good(answer.status())) return;
  auto label = net.label(answer->label);
  Serial.write(label.data(), label.size());
  Serial.println();
}

void loop() {}
