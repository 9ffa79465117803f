#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace openp2p::sim {

class BufferPool;

/// The bytes of one datagram in flight; gives its memory back to the pool at the end.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::move(other.bytes_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer();

  ByteView view() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  Buffer copy() const;

 private:
  friend class BufferPool;
  Buffer(BufferPool* pool, Bytes bytes) : pool_(pool), bytes_(std::move(bytes)) {}

  BufferPool* pool_ = nullptr;  // Outlives every buffer: the world owns it.
  Bytes bytes_;
};

/// Recycles the memory of datagrams: after the first few, sending allocates nothing.
class BufferPool {
 public:
  /// Above this many idle buffers memory is freed: a world's usual flight of packets.
  static constexpr std::size_t kIdleMax = 4096;

  Buffer copy(ByteView bytes) {
    Bytes memory;
    if (!idle_.empty()) {
      memory = std::move(idle_.back());
      idle_.pop_back();
    }
    memory.assign(bytes.begin(), bytes.end());
    return Buffer(this, std::move(memory));
  }

 private:
  friend class Buffer;
  void give_back(Bytes memory) {
    if (idle_.size() < kIdleMax) idle_.push_back(std::move(memory));
  }

  std::vector<Bytes> idle_;
};

inline Buffer::~Buffer() {
  if (pool_ != nullptr) pool_->give_back(std::move(bytes_));
}

inline Buffer Buffer::copy() const { return pool_ == nullptr ? Buffer() : pool_->copy(bytes_); }

}  // namespace openp2p::sim
