// One base in flash and what runs on it: a task, the base alone, the task again. C++17.
#include <coda.hpp>
#include <cstdio>
#include <cstring>

#include "arena.h"

extern "C" const unsigned char base[], base_end[], task[], task_end[], images[], images_end[];  // packages.S

namespace {

coda::Model model;
coda::Arena<CODA_DENSE_ARENA_BYTES> arena;  // the larger of both: the base alone takes every token

bool good(coda::Status status) {
  std::array<char, 160> message{};
  if (!status.ok()) std::printf("failed: %s: %s\n", status.text(), model.error(message));
  return status.ok();
}

bool classify(const char *what, float reduction) {
  auto info = model.info();
  if (!good(info.status())) return false;
  int index = 0;
  for (const unsigned char *image = images; image < images_end; image += info->image_bytes) {
    auto answer = model.run_pixels(image, info->image_bytes, coda_reduction(reduction));
    if (!good(answer.status())) return false;
    auto label = model.label(answer->label);
    std::printf("%s r=%d image=%d %.*s", what, int(reduction), index++, int(label.size()), label.data());
    for (float value : *answer) {
      std::uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      std::printf(" %08lx", static_cast<unsigned long>(bits));
    }
    std::printf("\n");
  }
  return true;
}

}  // namespace

int main() {
  coda::Package the_base{base, std::size_t(base_end - base)}, the_task{task, std::size_t(task_end - task)};
  if (!good(model.init(the_base, the_task)) || !good(model.start(arena))) return 1;
  // What is refused leaves the task as it is: a task that is cut, a base where a task belongs.
  coda::Package cut{task, the_task.bytes - 1};
  if (model.swap(cut).code() != CODA_STATUS_PACKAGE_TRUNCATED) return 2;
  if (model.swap(the_base).code() != CODA_STATUS_PACKAGE_KIND) return 2;
  if (!classify("answer", 1)) return 1;
  if (!good(model.swap({})) || !classify("dense", 1)) return 1;
  if (!good(model.swap(the_task)) || !classify("answer", 4) || !classify("answer", 8)) return 1;
  return 0;
}
