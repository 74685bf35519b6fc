// coda.hpp: coda.h for C++17. Header only; no exceptions, no RTTI, no allocation, nothing to destroy.
//
// What it adds: results that must be looked at, references instead of pointers and lengths, and a model
// that cannot be copied by accident (two copies would share one arena).
#ifndef CODA_HPP
#define CODA_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "coda.h"

namespace coda {

/// Bytes of a package in flash or memory.
struct Package {
  const void *data = nullptr;
  std::size_t bytes = 0;
};

/// An arena of N bytes, aligned.
template <std::size_t N>
struct alignas(CODA_ARENA_ALIGNMENT) Arena {
  std::array<unsigned char, N> bytes;
};

/// Success, or why not.
class [[nodiscard]] Status {
 public:
  Status(coda_status status) : status_(status) {}
  bool ok() const { return status_ == CODA_STATUS_OK; }
  coda_status code() const { return status_; }
  /// A short text.
  const char *text() const { return coda_status_string(status_); }

 private:
  coda_status status_;
};

/// A value, or why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(coda_status status, const T &value) : status_(status), value_(value) {}
  bool ok() const { return status_.ok(); }
  Status status() const { return status_; }
  /// Zero unless ok().
  const T &operator*() const { return value_; }
  const T *operator->() const { return &value_; }

 private:
  Status status_;
  T value_;
};

/// The answer of one inference; it lies in the arena until the next run, start or swap.
struct Answer : coda_output {
  /// Logits or the embedding.
  const float *begin() const { return values; }
  const float *end() const { return values + count; }
};

/// A base and a task, or a bundle, or a base alone.
class Model {
 public:
  Model() = default;
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  /// Checks and binds packages, which stay where they are.
  Status init(Package base, Package task = {}) {
    return coda_init(&context_, sizeof context_, base.data, base.bytes, task.data, task.bytes);
  }
  /// Bytes of the arena, exactly; 0 for the longest input and for any budget.
  Result<std::size_t> plan(std::size_t max_tokens = 0, std::size_t max_selected = 0) {
    std::size_t bytes = 0;
    coda_status status = coda_plan(&context_, max_tokens, max_selected, &bytes);
    return {status, bytes};
  }
  /// Gives the model its arena.
  template <std::size_t N>
  Status start(Arena<N> &arena, std::size_t max_tokens = 0, std::size_t max_selected = 0) {
    return coda_start(&context_, max_tokens, max_selected, arena.bytes.data(), N);
  }
  Status start(void *arena, std::size_t bytes, std::size_t max_tokens = 0, std::size_t max_selected = 0) {
    return coda_start(&context_, max_tokens, max_selected, arena, bytes);
  }
  /// Another task on the same base; none for the base alone.
  Status swap(Package task) { return coda_swap_task(&context_, task.data, task.bytes); }

  Result<coda_info> info() const {
    coda_info info{};
    info.bytes = sizeof info;
    coda_status status = coda_get_info(&context_, &info);
    return {status, info};
  }
  /// The name of a class; empty if it has none.
  std::string_view label(std::size_t index) const {
    const char *text = nullptr;
    std::size_t bytes = 0;
    return coda_label(&context_, index, &text, &bytes) == CODA_STATUS_OK ? std::string_view(text, bytes)
                                                                          : std::string_view();
  }
  /// The kernel table in use.
  std::string_view kernels() const {
    const char *text = nullptr;
    std::size_t bytes = 0;
    return coda_kernels(&context_, &text, &bytes) == CODA_STATUS_OK ? std::string_view(text, bytes)
                                                                     : std::string_view();
  }

  Result<Answer> run_pixels(const std::uint8_t *pixels, std::size_t bytes, const coda_budget &budget = {}) {
    Answer answer{};
    answer.bytes = sizeof(coda_output);
    coda_status status = coda_run_pixels(&context_, pixels, bytes, &budget, &answer);
    return {status, answer};
  }
  Result<Answer> run_tokens(const std::uint32_t *ids, std::size_t count, const coda_budget &budget = {},
                            const std::uint8_t *types = nullptr) {
    Answer answer{};
    answer.bytes = sizeof(coda_output);
    coda_status status = coda_run_tokens(&context_, ids, types, count, &budget, &answer);
    return {status, answer};
  }

  /// The last error as a sentence with its numbers, cut to N bytes.
  template <std::size_t N>
  const char *error(std::array<char, N> &text) const {
    return coda_error_message(&context_, text.data(), N, nullptr) == CODA_STATUS_OK ? text.data() : "";
  }
  /// For functions of coda.h that are not here.
  coda_context *context() { return &context_; }

 private:
  coda_context context_{};
};

/// The answer of a model that writes, so far; its tokens lie in the arena until the next call with it.
struct Written : coda_answer {
  const std::uint32_t *begin() const { return tokens; }
  const std::uint32_t *end() const { return tokens + count; }
};

/// Answers of a model that writes, one at a time, for a library with the feature `decoder`. It stays in place while
/// an answer grows.
class Writer {
 public:
  explicit Writer(Model &model) : context_(model.context()) {}
  Writer(const Writer &) = delete;
  Writer &operator=(const Writer &) = delete;

  /// Bytes of the arena, exactly; what is 0 is as the package says.
  Result<std::size_t> plan(std::size_t max_new_tokens = 0, std::size_t max_beams = 0, std::size_t max_tokens = 0) {
    std::size_t bytes = 0;
    coda_capacity capacity = of(max_new_tokens, max_beams, max_tokens);
    coda_status status = coda_plan_generation(context_, &capacity, &bytes);
    return {status, bytes};
  }
  /// Gives it its arena, planned with the same numbers.
  Status start(void *arena, std::size_t bytes, std::size_t max_new_tokens = 0, std::size_t max_beams = 0,
               std::size_t max_tokens = 0) {
    coda_capacity capacity = of(max_new_tokens, max_beams, max_tokens);
    return coda_start_generation(context_, &generation_, sizeof generation_, &capacity, arena, bytes);
  }
  /// Begins an answer to token ids or to an image.
  Status generate_tokens(const std::uint32_t *ids, std::size_t count, const coda_budget &budget = {},
                         const coda_search *search = nullptr) {
    return coda_generate_tokens(context_, &generation_, ids, nullptr, count, &budget, search);
  }
  Status generate_pixels(const std::uint8_t *pixels, std::size_t bytes, const coda_budget &budget = {},
                         const coda_search *search = nullptr) {
    return coda_generate_pixels(context_, &generation_, pixels, bytes, &budget, search);
  }
  /// One more token.
  Result<Written> step() {
    Written written{};
    written.bytes = sizeof(coda_answer);
    coda_status status = coda_step(context_, &generation_, &written);
    return {status, written};
  }

 private:
  static coda_capacity of(std::size_t max_new_tokens, std::size_t max_beams, std::size_t max_tokens) {
    coda_capacity capacity{};
    capacity.bytes = sizeof capacity;
    capacity.max_tokens = max_tokens;
    capacity.max_new_tokens = max_new_tokens;
    capacity.max_beams = max_beams;
    return capacity;
  }

  coda_context *context_;
  coda_generation generation_{};
};

}  // namespace coda

#endif  // CODA_HPP
