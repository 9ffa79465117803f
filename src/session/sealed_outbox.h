#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "quic/send_buffer.h"
#include "session/sealed.h"

namespace openp2p::session {

/// The memory of all outboxes of an Endpoint, and its limit.
struct SealedMemory {
  /// As much as the streams of one connection may hold (quic::SendBudget): where many sessions are
  /// slow at once, datagrams are dropped, as a router drops them.
  static constexpr std::size_t kBytesMax = 64 << 20;
  quic::ChunkPool chunks;
  std::size_t used_bytes = 0;
};

/// Payloads of one session that wait to be sealed, oldest first. They are written once, into
/// chunks, and read in place when they are sealed. An empty one holds no memory.
class SealedOutbox {
 public:
  /// Of one session: 8 ms at 1 Gbit/s. What waits longer is late, and its senders have to notice.
  static constexpr std::size_t kBytesMax = 1 << 20;

  struct Waiting {
    SealedUse use;
    ByteView payload;
  };

  explicit SealedOutbox(SealedMemory& memory) : memory_(memory) {}
  ~SealedOutbox() { clear(); }
  SealedOutbox(const SealedOutbox&) = delete;
  SealedOutbox& operator=(const SealedOutbox&) = delete;

  /// Contiguous room for a payload of 1 to 65,535 bytes; empty where there is none. A room that is
  /// not committed before the next call is forgotten.
  MutableByteView room(SealedUse use, std::size_t bytes);
  void commit();

  bool empty() const { return waiting_ == 0; }
  Waiting front() const;  ///< Only while not empty; good until pop().
  void pop();
  void clear();

 private:
  using Chunk = quic::ChunkPool::Chunk;
  struct Prefix {
    std::uint16_t bytes;
    SealedUse use;
  };

  bool add_chunk();
  void drop_head();
  Prefix front_prefix() const;

  SealedMemory& memory_;
  Chunk* head_ = nullptr;
  Chunk* tail_ = nullptr;
  std::size_t head_used_ = 0;      ///< Bytes of *head_ that were taken.
  std::size_t room_bytes_ = 0;     ///< Payload and prefix of the room given; 0: none.
  std::size_t waiting_ = 0;        ///< Payloads.
  std::size_t waiting_bytes_ = 0;  ///< With their prefixes.
};

}  // namespace openp2p::session
