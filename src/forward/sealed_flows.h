#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "forward/datagram_message.h"
#include "forward/fragments.h"
#include "session/session.h"

namespace openp2p::forward {

/// Who takes the datagrams of one UDP flow.
class DatagramUser {
 public:
  virtual ~DatagramUser() = default;
  /// `datagram` is gone when the call returns.
  virtual void on_datagram(ByteView datagram) = 0;
  /// After on_datagram() calls of one receive batch: time to write gathered data onwards.
  virtual void on_datagrams_end() = 0;
};

/// The UDP flows of one session: brings what is sealed to the flow that it names, and seals what
/// flows send.
///
/// Hot path, each way: one hash lookup a datagram (none where it is of the same flow as the one
/// before), one copy into the session's outbox, no allocation.
///
/// Sans-I/O. Threading: one owner, who calls on_batch_end() with the session's. The session
/// outlives it; flows leave before it ends.
class SealedFlows final : public session::SealedHandler {
 public:
  struct Counters {
    std::uint64_t unknown = 0;    ///< Of no flow: mostly of one that has just ended.
    std::uint64_t malformed = 0;  ///< The peer breaks the protocol.
  };

  explicit SealedFlows(session::Session& session);
  ~SealedFlows() override;
  SealedFlows(const SealedFlows&) = delete;
  SealedFlows& operator=(const SealedFlows&) = delete;

  /// False: that number is in use, since 2^32 flows came in between. The stream is to be refused.
  bool add(FlowId flow, DatagramUser& user);
  void remove(FlowId flow);
  /// False: dropped, since the session has no path, no room, or `datagram` is larger than
  /// kDatagramBytesMax.
  bool send(FlowId flow, ByteView datagram);

  // session::SealedHandler
  void on_sealed(session::Session& session, session::SealedUse use, MutableByteView payload,
                 TimePoint now) override;
  void on_batch_end();
  void on_timeout(TimePoint now) { fragments_.on_timeout(now); }
  std::optional<TimePoint> next_timeout() const { return fragments_.next_timeout(); }

  const Counters& counters() const { return counters_; }
  const Fragments& fragments() const { return fragments_; }
  std::size_t size() const { return flows_.size(); }

 private:
  struct Entry {
    DatagramUser* user = nullptr;
    bool is_in_batch = false;
  };
  Entry* find(FlowId flow);
  bool send_fragments(FlowId flow, ByteView datagram, std::size_t payload_max);
  bool seal(const DatagramMessage& message);

  session::Session& session_;
  std::unordered_map<FlowId, Entry> flows_;
  FlowId last_flow_;
  Entry* last_ = nullptr;  ///< Of last_flow_, or nothing. Entries of the map do not move.
  std::vector<FlowId> batch_;
  Fragments fragments_;
  std::uint32_t next_message_ = 0;
  Counters counters_;
};

}  // namespace openp2p::forward
