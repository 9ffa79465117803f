#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace openp2p::sim {

/// What an event does: a move-only `void()`.
///
/// Callables up to kInlineBytes live inside, which covers a packet in flight, so that an event
/// costs no allocation; larger ones are kept on the heap. (std::function copies, and holds 16
/// bytes.)
class Task {
 public:
  static constexpr std::size_t kInlineBytes = 144;  ///< A Packet and where it goes.

  Task() = default;
  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, Task> && std::is_invocable_v<std::decay_t<F>&>)
      Task(F&& run) {  // NOLINT(google-explicit-constructor): call sites hand over plain lambdas.
    using Callable = std::decay_t<F>;
    if constexpr (fits<Callable>()) {
      new (storage_) Callable(std::forward<F>(run));
      ops_ = &kOps<Callable>;
    } else {
      auto boxed = [heap = std::make_unique<Callable>(std::forward<F>(run))] { (*heap)(); };
      new (storage_) decltype(boxed)(std::move(boxed));
      ops_ = &kOps<decltype(boxed)>;
    }
  }
  Task(Task&& other) noexcept { take(other); }
  Task& operator=(Task&& other) noexcept {
    if (this == &other) return *this;
    reset();
    take(other);
    return *this;
  }
  ~Task() { reset(); }

  explicit operator bool() const { return ops_ != nullptr; }
  void operator()() { ops_->run(storage_); }
  void reset() {
    if (ops_ != nullptr) std::exchange(ops_, nullptr)->destroy(storage_);
  }

 private:
  struct Ops {
    void (*run)(void* self);
    void (*move)(void* from, void* to) noexcept;  // Ends the life of `from`.
    void (*destroy)(void* self) noexcept;
  };
  template <class Callable>
  static constexpr bool fits() {
    return sizeof(Callable) <= kInlineBytes && alignof(Callable) <= alignof(std::max_align_t) &&
           std::is_nothrow_move_constructible_v<Callable>;
  }
  template <class Callable>
  static constexpr Ops kOps = {
      [](void* self) { (*static_cast<Callable*>(self))(); },
      [](void* from, void* to) noexcept {
        auto* source = static_cast<Callable*>(from);
        new (to) Callable(std::move(*source));
        source->~Callable();
      },
      [](void* self) noexcept { static_cast<Callable*>(self)->~Callable(); },
  };

  void take(Task& other) noexcept {
    if (other.ops_ == nullptr) return;
    ops_ = std::exchange(other.ops_, nullptr);
    ops_->move(other.storage_, storage_);
  }

  alignas(std::max_align_t) std::byte storage_[kInlineBytes];
  const Ops* ops_ = nullptr;
};

}  // namespace openp2p::sim
