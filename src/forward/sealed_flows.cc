#include "forward/sealed_flows.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::forward {

SealedFlows::SealedFlows(session::Session& session) : session_(session) {
  session_.set_sealed_handler(session::SealedUse::kForward, this);
}

SealedFlows::~SealedFlows() {
  CHECK(flows_.empty());
  session_.set_sealed_handler(session::SealedUse::kForward, nullptr);
}

bool SealedFlows::add(FlowId flow, DatagramUser& user) {
  return flows_.try_emplace(flow, Entry{&user, false}).second;
}

void SealedFlows::remove(FlowId flow) {
  last_ = nullptr;
  flows_.erase(flow);
}

SealedFlows::Entry* SealedFlows::find(FlowId flow) {
  if (last_ != nullptr && last_flow_ == flow) return last_;
  const auto found = flows_.find(flow);
  if (found == flows_.end()) return nullptr;
  last_flow_ = flow;
  return last_ = &found->second;
}

void SealedFlows::on_sealed(session::Session&, session::SealedUse, MutableByteView payload,
                            TimePoint now) {
  const auto message = decode_datagram(payload);
  if (!message) {
    ++counters_.malformed;
    return;
  }
  Entry* entry = find(message->flow);
  if (entry == nullptr) {  // Before anything is kept of it.
    ++counters_.unknown;
    return;
  }
  ByteView datagram = message->data;
  if (message->fragment) {
    const auto whole = fragments_.add(*message, now);
    if (!whole) return;
    datagram = *whole;
  }
  if (!entry->is_in_batch) {
    entry->is_in_batch = true;
    batch_.push_back(message->flow);
  }
  entry->user->on_datagram(datagram);
}

void SealedFlows::on_batch_end() {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    Entry* entry = find(batch_[i]);
    if (entry == nullptr || !entry->is_in_batch) continue;
    entry->is_in_batch = false;
    entry->user->on_datagrams_end();
  }
  batch_.clear();
}

bool SealedFlows::send(FlowId flow, ByteView datagram) {
  if (datagram.size() > kDatagramBytesMax) return false;
  const std::size_t payload_max = session_.sealed_payload_max();
  if (datagram.size() + kWholeHeaderBytes > payload_max) {
    return send_fragments(flow, datagram, payload_max);
  }
  return seal({flow, std::nullopt, datagram});
}

/// Of equal size, so that they leave in one system call. Where one has no room, the others would be
/// sent in vain.
bool SealedFlows::send_fragments(FlowId flow, ByteView datagram, std::size_t payload_max) {
  if (payload_max <= kFragmentHeaderBytes) return false;
  const std::size_t count = fragments_of(datagram.size(), payload_max - kFragmentHeaderBytes);
  if (count > FragmentPlace::kCountMax) return false;
  FragmentPlace place{next_message_++, static_cast<std::uint16_t>(datagram.size()), 0,
                      static_cast<std::uint8_t>(count)};
  for (; place.index < place.count; ++place.index) {
    if (!seal({flow, place, datagram.subspan(place.offset(), place.bytes())})) return false;
  }
  return true;
}

bool SealedFlows::seal(const DatagramMessage& message) {
  const MutableByteView room =
      session_.sealed_room(session::SealedUse::kForward, encoded_bytes(message));
  if (room.empty()) return false;
  encode_datagram(message, room);
  session_.commit_sealed();
  return true;
}

}  // namespace openp2p::forward
