#include "quic/send_buffer.h"

#include <algorithm>
#include <new>

#include "base/check.h"

namespace openp2p::quic {
namespace {

/// A tail with less room than this is left as it is, and a new chunk begun: reading a socket by a
/// few bytes at a time costs more than the bytes wasted.
constexpr std::size_t kRoomBytesMin = 2 * 1024;

}  // namespace

ChunkPool::~ChunkPool() {
  for (Chunk* list : {free_small_, free_large_}) {
    while (list != nullptr) {
      Chunk* const next = list->next;
      ::operator delete(list);
      list = next;
    }
  }
}

ChunkPool::Chunk*& ChunkPool::free_list(std::size_t capacity) {
  return capacity == kSmallBytes ? free_small_ : free_large_;
}

ChunkPool::Chunk* ChunkPool::take(std::size_t capacity) {
  CHECK(capacity == kSmallBytes || capacity == kLargeBytes);
  Chunk*& list = free_list(capacity);
  if (list == nullptr) {
    Chunk* const made = new (::operator new(sizeof(Chunk) + capacity)) Chunk;
    made->capacity = capacity;
    return made;
  }
  Chunk* const taken = list;
  list = taken->next;
  kept_bytes_ -= capacity;
  taken->next = nullptr;
  taken->size = 0;
  return taken;
}

void ChunkPool::give(Chunk* chunk) {
  if (kept_bytes_ + chunk->capacity > kKeptBytesMax) {
    ::operator delete(chunk);
    return;
  }
  kept_bytes_ += chunk->capacity;
  Chunk*& list = free_list(chunk->capacity);
  chunk->next = list;
  list = chunk;
}

SendBuffer::SendBuffer(ChunkPool& pool, SendBudget& budget, std::size_t limit_bytes)
    : pool_(pool), budget_(budget), limit_bytes_(limit_bytes) {}

SendBuffer::~SendBuffer() { clear(); }

std::size_t SendBuffer::free_bytes() const {
  const std::size_t held = static_cast<std::size_t>(committed_ - acknowledged_);
  return limit_bytes_ - std::min(limit_bytes_, held);
}

bool SendBuffer::add_chunk() {
  if (head_ != nullptr && budget_.is_spent()) return false;
  // The peer has not acknowledged a small chunk's worth yet: this is bulk.
  const bool is_bulk = committed_ - acknowledged_ >= ChunkPool::kSmallBytes / 2;
  ChunkPool::Chunk* const chunk =
      pool_.take(is_bulk ? ChunkPool::kLargeBytes : ChunkPool::kSmallBytes);
  budget_.used_bytes += chunk->capacity;
  if (tail_ == nullptr) {
    head_ = chunk;
    head_offset_ = committed_;
  } else {
    tail_->next = chunk;
  }
  tail_ = chunk;
  return true;
}

MutableByteView SendBuffer::room() {
  const std::size_t allowed = free_bytes();
  if (allowed < std::min(kRoomBytesMin, limit_bytes_)) return {};
  const std::size_t left = tail_ == nullptr ? 0 : tail_->capacity - tail_->size;
  if (left < kRoomBytesMin && !add_chunk() && left == 0) return {};
  room_bytes_ = std::min(allowed, tail_->capacity - tail_->size);
  return {tail_->data() + tail_->size, room_bytes_};
}

void SendBuffer::commit(std::size_t bytes) {
  CHECK(bytes <= room_bytes_);
  room_bytes_ = 0;
  if (bytes > 0) {
    tail_->size += bytes;
    committed_ += bytes;
  }
  drop_acknowledged();
}

/// Puts the cursor on the next byte to send. Needs has_unsent().
void SendBuffer::seek() {
  if (cursor_ == nullptr) {
    // All that was sent lies in chunks that are gone, or nothing was sent yet.
    cursor_ = head_;
    cursor_used_ = static_cast<std::size_t>(sent_ - head_offset_);
  }
  while (cursor_used_ == cursor_->size) {
    cursor_ = cursor_->next;
    cursor_used_ = 0;
  }
}

SendBuffer::Unsent SendBuffer::unsent() {
  Unsent result;
  if (!has_unsent()) return result;
  seek();
  result.pieces[0] = ByteView(cursor_->data() + cursor_used_, cursor_->size - cursor_used_);
  if (cursor_->next != nullptr) {
    result.pieces[1] = ByteView(cursor_->next->data(), cursor_->next->size);
  }
  result.bytes = result.pieces[0].size() + result.pieces[1].size();
  result.is_all = result.bytes == committed_ - sent_;
  return result;
}

void SendBuffer::mark_sent(std::size_t bytes) {
  CHECK(bytes <= committed_ - sent_);
  while (bytes > 0) {
    seek();
    const std::size_t here = std::min(bytes, cursor_->size - cursor_used_);
    cursor_used_ += here;
    sent_ += here;
    bytes -= here;
  }
}

void SendBuffer::mark_acknowledged(std::uint64_t offset) {
  if (head_ == nullptr) return;  // Cleared: a reset stream's last bytes still arrived.
  CHECK(offset <= sent_);
  acknowledged_ = std::max(acknowledged_, offset);
  drop_acknowledged();
}

void SendBuffer::drop_acknowledged() {
  while (head_ != nullptr && head_offset_ + head_->size <= acknowledged_) {
    // The tail stays while someone may be writing into it, or may still want its room.
    if (head_ == tail_ && (room_bytes_ > 0 || acknowledged_ < committed_)) return;
    drop_head();
  }
}

void SendBuffer::drop_head() {
  ChunkPool::Chunk* const gone = head_;
  if (cursor_ == gone) {
    cursor_ = nullptr;
    cursor_used_ = 0;
  }
  head_offset_ += gone->size;
  head_ = gone->next;
  if (head_ == nullptr) tail_ = nullptr;
  budget_.used_bytes -= gone->capacity;
  pool_.give(gone);
}

void SendBuffer::abandon() {
  room_bytes_ = 0;
  if (acknowledged_ == sent_) return clear();
  // Keep the chunks up to the one that holds the last byte sent.
  std::uint64_t end = head_offset_;
  ChunkPool::Chunk* last = head_;
  while (end + last->size < sent_) {
    end += last->size;
    last = last->next;
  }
  ChunkPool::Chunk* rest = last->next;
  last->size = static_cast<std::size_t>(sent_ - end);
  last->next = nullptr;
  tail_ = last;
  cursor_ = last;
  cursor_used_ = last->size;
  committed_ = sent_;
  while (rest != nullptr) {
    ChunkPool::Chunk* const gone = rest;
    rest = gone->next;
    budget_.used_bytes -= gone->capacity;
    pool_.give(gone);
  }
}

void SendBuffer::clear() {
  while (head_ != nullptr) drop_head();
  room_bytes_ = 0;
  sent_ = acknowledged_ = committed_;
}

}  // namespace openp2p::quic
