#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

/// What a stream has been given to send and the peer has not acknowledged yet. It is made of
/// chunks, not of one ring: a chunk never moves, so the library below may point into it until it is
/// acknowledged (RFC 9000 section 13.3), while a thousand idle streams hold no memory at all.
///
/// Hot path: bytes are written once, straight into a chunk, and read in place when a packet is
/// sealed. Chunks come from a pool; in steady state nothing is allocated.
namespace openp2p::quic {

/// Memory for chunks, shared by all connections of a party. Outlives every SendBuffer.
class ChunkPool {
 public:
  /// Small first: most streams are short. Large then: a bulk stream reads 128 KiB in one call.
  static constexpr std::size_t kSmallBytes = 16 * 1024;
  static constexpr std::size_t kLargeBytes = 128 * 1024;
  /// Free memory kept for later; above it, chunks go back to the system. Eight bulk streams' worth.
  static constexpr std::size_t kKeptBytesMax = 8 * 1024 * 1024;

  struct Chunk {
    Chunk* next = nullptr;
    std::size_t capacity = 0;
    std::size_t size = 0;  ///< Bytes written.
    std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
  };

  ChunkPool() = default;
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  Chunk* take(std::size_t capacity);  ///< kSmallBytes or kLargeBytes.
  void give(Chunk* chunk);
  std::size_t kept_bytes() const { return kept_bytes_; }

 private:
  Chunk*& free_list(std::size_t capacity);

  Chunk* free_small_ = nullptr;
  Chunk* free_large_ = nullptr;
  std::size_t kept_bytes_ = 0;
};

/// How much all streams of one connection hold together. A peer that acknowledges nothing could
/// otherwise pin streams * limit bytes; above the limit a stream gets one small chunk at a time.
struct SendBudget {
  static constexpr std::size_t kBytesMax = 64 * 1024 * 1024;
  std::size_t used_bytes = 0;
  bool is_spent() const { return used_bytes >= kBytesMax; }
};

/// Offsets count from the stream's first byte: acknowledged <= sent <= committed.
class SendBuffer {
 public:
  SendBuffer(ChunkPool& pool, SendBudget& budget, std::size_t limit_bytes);
  ~SendBuffer();
  SendBuffer(const SendBuffer&) = delete;
  SendBuffer& operator=(const SendBuffer&) = delete;

  /// May become less than what is held already.
  void set_limit(std::size_t limit_bytes) { limit_bytes_ = limit_bytes; }

  /// Contiguous memory to write to; empty when (nearly) limit_bytes are unacknowledged. It stays
  /// good until commit(), abandon() or clear(), whatever is acknowledged meanwhile.
  MutableByteView room();
  void commit(std::size_t bytes);

  /// What is to be sent next, in at most two pieces: more than one datagram carries, where so much
  /// is there. `is_all`: nothing unsent is left out.
  struct Unsent {
    std::array<ByteView, 2> pieces;
    std::size_t bytes = 0;
    bool is_all = true;
  };
  Unsent unsent();
  void mark_sent(std::size_t bytes);
  void mark_acknowledged(std::uint64_t offset);  ///< Everything before `offset` has arrived.
  void abandon();  ///< Drops what was not sent. What was sent stays: it may be read again.
  void clear();    ///< Drops everything, rooms too.

  bool has_unsent() const { return sent_ < committed_; }
  /// How many bytes may be committed before the limit is reached.
  std::size_t free_bytes() const;

 private:
  bool add_chunk();
  void seek();
  void drop_head();
  void drop_acknowledged();

  ChunkPool& pool_;
  SendBudget& budget_;
  std::size_t limit_bytes_;
  ChunkPool::Chunk* head_ = nullptr;    // Holds the first unacknowledged byte.
  ChunkPool::Chunk* tail_ = nullptr;    // Is written to.
  ChunkPool::Chunk* cursor_ = nullptr;  // Holds the next byte to send, or is nullptr: look at head.
  std::size_t cursor_used_ = 0;         // Bytes of *cursor_ that were sent.
  std::size_t room_bytes_ = 0;          // Given out by room() and not yet committed.
  std::uint64_t head_offset_ = 0;       // Stream offset of head's first byte.
  std::uint64_t acknowledged_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t committed_ = 0;
};

}  // namespace openp2p::quic
