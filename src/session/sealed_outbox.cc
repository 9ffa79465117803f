#include "session/sealed_outbox.h"

#include <cstring>
#include <limits>
#include <utility>

#include "base/check.h"

namespace openp2p::session {

MutableByteView SealedOutbox::room(SealedUse use, std::size_t bytes) {
  room_bytes_ = 0;
  const std::size_t wanted = sizeof(Prefix) + bytes;
  if (bytes == 0 || wanted > quic::ChunkPool::kSmallBytes) return {};
  if (waiting_bytes_ + wanted > kBytesMax) return {};
  if ((tail_ == nullptr || tail_->capacity - tail_->size < wanted) && !add_chunk()) return {};
  room_bytes_ = wanted;
  const Prefix prefix{static_cast<std::uint16_t>(bytes), use};
  std::byte* const at = tail_->data() + tail_->size;
  std::memcpy(at, &prefix, sizeof(prefix));
  return {at + sizeof(prefix), bytes};
}

void SealedOutbox::commit() {
  CHECK(room_bytes_ > 0);
  tail_->size += room_bytes_;
  waiting_bytes_ += std::exchange(room_bytes_, 0);
  ++waiting_;
}

/// Few datagrams take a small chunk; a queue that grows takes large ones.
bool SealedOutbox::add_chunk() {
  const std::size_t capacity = waiting_bytes_ < quic::ChunkPool::kSmallBytes / 2
                                   ? quic::ChunkPool::kSmallBytes
                                   : quic::ChunkPool::kLargeBytes;
  if (memory_.used_bytes + capacity > SealedMemory::kBytesMax) return false;
  Chunk* const chunk = memory_.chunks.take(capacity);
  memory_.used_bytes += capacity;
  (tail_ == nullptr ? head_ : tail_->next) = chunk;
  tail_ = chunk;
  return true;
}

SealedOutbox::Prefix SealedOutbox::front_prefix() const {
  CHECK(waiting_ > 0);
  Prefix prefix;
  std::memcpy(&prefix, head_->data() + head_used_, sizeof(prefix));
  return prefix;
}

SealedOutbox::Waiting SealedOutbox::front() const {
  const Prefix prefix = front_prefix();
  return {prefix.use, {head_->data() + head_used_ + sizeof(prefix), prefix.bytes}};
}

void SealedOutbox::pop() {
  const std::size_t bytes = sizeof(Prefix) + front_prefix().bytes;
  head_used_ += bytes;
  waiting_bytes_ -= bytes;
  --waiting_;
  if (waiting_ == 0) return clear();
  if (head_used_ == head_->size) drop_head();
}

void SealedOutbox::drop_head() {
  Chunk* const next = head_->next;
  memory_.used_bytes -= head_->capacity;
  memory_.chunks.give(head_);
  head_ = next;
  head_used_ = 0;
  if (head_ == nullptr) tail_ = nullptr;
}

void SealedOutbox::clear() {
  while (head_ != nullptr) drop_head();
  room_bytes_ = 0;
  waiting_ = 0;
  waiting_bytes_ = 0;
}

}  // namespace openp2p::session
