#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "forward/stream_user.h"
#include "relay/hop.h"
#include "relay/relay_message.h"
#include "relay/ticket.h"
#include "session/session.h"

/// An end's side, on one session with a relay: allocations, what goes through them, receipts,
/// letters.
///
/// Order of calls:
///   1. The session with the relay is established: the owner makes a Hop and a RelayClient, calls
///      open(), and routes the stream that it gives to the client (PeerLink::use(), or the server
///      link's own routing).
///   2. allocate() -> on_allocated() -> on_joined(), or at once where is_peer_there. From then on
///      send() reaches the peer, and on_relayed() brings what the peer sent.
///   3. release(), or on_left(): the allocation is over; the channel means nothing any more.
///   4. on_relay_lost(): the stream or the session ended. Allocations are over without on_left()
///      for each; the client is of no further use, and destroyed between inputs, before its Hop.
///
/// Receipts are signed unasked by the owner, when the relay wants one, for what came and no more:
/// at most one each half second an allocation; what a relay wants beyond that is ignored.
/// Sans-I/O. No timers. Threading: one owner.
namespace openp2p::relay {

class RelayClient;

/// None of these may destroy the client, its Hop or its session.
class RelayClientHandler {
 public:
  virtual ~RelayClientHandler() = default;
  virtual TimePoint now() const = 0;  ///< Of the input that is being handled.
  virtual void on_allocated(RelayClient& client, std::uint64_t number,
                            const AllocatedMessage& allocated) = 0;
  virtual void on_refused(RelayClient& client, const RefusedMessage& refused) = 0;
  virtual void on_joined(RelayClient& client, Channel channel) = 0;
  virtual void on_left(RelayClient& client, Channel channel, std::string_view why) = 0;
  /// `datagram` lies in a buffer that ends with the call; it may be changed.
  virtual void on_relayed(RelayClient& client, Channel channel, MutableByteView datagram,
                          TimePoint now) = 0;
  virtual void on_letter(RelayClient& client, const NodeId& from, ByteView body) = 0;
  virtual void on_letter_failed(RelayClient& client, const NodeId& to) = 0;
  virtual void on_relay_lost(RelayClient& client) = 0;  ///< Last call.
};

class RelayClient final : public forward::StreamUser {
 public:
  /// Allocations at once, asked for or there: the nodes of a large network.
  static constexpr std::size_t kAllocationsMax = 1'024;

  /// All outlive the client. `identity` signs receipts.
  RelayClient(Hop& hop, const IdentityKey& identity, RelayClientHandler& handler);
  ~RelayClient() override;
  RelayClient(const RelayClient&) = delete;
  RelayClient& operator=(const RelayClient&) = delete;

  Hop& hop() { return hop_; }
  const NodeId& relay() const { return relay_; }
  /// Opens the relay stream; the caller routes it here. Once. Fails where the peer grants no more
  /// streams now.
  Result<session::StreamId> open();
  bool is_open() const;

  /// Asks for an allocation with `peer`; the number comes back in the answer. nullopt: too many, or
  /// not open. Without a ticket: all three are of one network.
  std::optional<std::uint64_t> allocate(const NodeId& peer, const std::optional<Ticket>& ticket);
  void release(Channel channel);

  /// Sends a train of datagrams, each of `segment_bytes` but the last. Gives how many left; the
  /// others were too large (more than Hop::datagram_max()), or the queue is full.
  std::size_t send(Channel channel, ByteView datagrams, std::size_t segment_bytes);
  /// To a node of the relay's and this node's network that has a relay stream to the same relay.
  /// False: not open, too long (kLetterBytesMax), or too much waits.
  bool send_letter(const NodeId& to, ByteView body);

  struct Counters {
    std::uint64_t datagrams_sent = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t datagrams_received = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t dropped = 0;        ///< Too large, or no room in the session.
    std::uint64_t wrong_channel = 0;  ///< From the relay, for no allocation.
    std::uint64_t receipts = 0;       ///< Signed.
    std::uint64_t malformed = 0;      ///< The relay broke the protocol: the stream was reset.
  };
  const Counters& counters() const;

  // forward::StreamUser
  void on_stream_data(ByteView data, bool is_end) override;
  void on_stream_writable() override;
  void on_stream_reset() override;
  void on_stream_stopped() override;
  void on_stream_closed() override;
  void on_batch_end() override;
  void on_session_lost() override;

 private:
  class Impl;
  Hop& hop_;
  const NodeId relay_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace openp2p::relay
