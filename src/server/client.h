#pragma once

#include <deque>
#include <optional>
#include <string>

#include "forward/stream_user.h"
#include "path/token_bucket.h"
#include "server/directory.h"
#include "server/messages.h"
#include "session/session.h"
#include "wire/control_frame.h"

namespace openp2p::server {

class Client;

/// What a client's session brings. None of these may destroy the client.
class ClientHandler {
 public:
  virtual ~ClientHandler() = default;
  virtual TimePoint now() const = 0;
  virtual void on_message(Client& client, ClientMessage message) = 0;
  /// The session goes another way now: the client may be seen at another address.
  virtual void on_moved(Client& client) = 0;
  /// The client's second stream: for the server as a relay. nullptr: it does not relay.
  virtual forward::StreamUser* on_relay_stream(Client& client, session::Session& session,
                                               session::StreamId id) = 0;
  /// The client wants its session closed: Client::close() is to be called once no session's call is
  /// under way. Told once.
  virtual void on_doomed(Client& client) = 0;
  virtual void on_gone(Client& client) = 0;  ///< The session is closed. Last call.
};

/// One control session on the server's side: frames on its first stream, perhaps the relay's on a
/// second one, and the limits that hold for every client, whoever it is.
class Client final : public session::SessionHandler {
 public:
  /// Waiting to be written to a client, beyond QUIC's ring: five Welcomes of the largest network.
  /// One that reads more slowly is closed; it comes back, and gets the state of things anew.
  static constexpr std::size_t kQueuedBytesMax = 1 << 20;
  /// A signal waits only where less than this does: candidates that come late are of no use.
  static constexpr std::size_t kSignalQueuedBytesMax = 128 << 10;
  /// All messages. A client says one Hello, a Ping every now and then, and signals.
  static constexpr int kMessagesBurstMax = 1'000;
  static constexpr Duration kMessageInterval = std::chrono::milliseconds(5);
  /// Signals: 50 a second, 200 at once, which starts some 30 sessions in the same moment.
  static constexpr int kSignalsBurstMax = 200;
  static constexpr Duration kSignalInterval = std::chrono::milliseconds(20);

  /// Receipts of a relay: 50 a second, which is what 1.6 Gbit/s need at one each 4 MiB. Beyond,
  /// they are dropped; the next ones say as much.
  static constexpr int kReceiptsBurstMax = 200;
  static constexpr Duration kReceiptInterval = std::chrono::milliseconds(20);
  /// Reports about relays, and questions for credit: people and their links ask now and then.
  /// Beyond, they are ignored.
  static constexpr int kReportsBurstMax = 60;
  static constexpr Duration kReportInterval = std::chrono::seconds(1);
  static constexpr int kQueriesBurstMax = 10;
  static constexpr Duration kQueryInterval = std::chrono::seconds(1);

  enum class State {
    kSilent,   ///< No Hello yet.
    kAsking,   ///< The store is being asked.
    kMember,   ///< Welcomed.
    kRefused,  ///< A Refused is on its way; the session is closed soon after.
    kDoomed,   ///< close() is due.
    kClosed,
  };

  Client(ConnectionId id, session::Session& session, ClientHandler& handler);

  ConnectionId id() const { return id_; }
  const NodeId& node() const { return node_; }
  State state() const { return state_; }
  void set_state(State state) { state_ = state; }
  bool is_open() const { return state_ != State::kDoomed && state_ != State::kClosed; }
  /// As the server sees it now; empty where nothing was received for a while.
  std::string observed_address() const;
  /// What its peers are told: the IPv4 address, if it has one, since NATs are in front of those.
  std::string reflexive_address() const;
  const IpAddress& prefix() const { return prefix_; }

  void send(ByteView message);
  std::size_t queued_bytes() const { return out_.size(); }
  /// Sends the refusal; the owner closes after a while, so that it arrives.
  void refuse(const Refusal& refusal);
  /// Asks the owner to close the session. Only the first reason counts.
  void doom(ControlEnd why, std::string text);
  void close(TimePoint now);
  bool may_signal(TimePoint now) { return signals_.take(now); }
  bool may_send_receipt(TimePoint now) { return receipts_.take(now); }
  bool may_report(TimePoint now) { return reports_.take(now); }
  bool may_query(TimePoint now) { return queries_.take(now); }
  Duration rtt() const;  ///< 0 once the session is closed.
  /// Closed: the node, or this server, said goodbye. Otherwise it was lost.
  bool was_planned() const { return was_planned_; }

  // session::SessionHandler
  void on_established(session::Session& session) override;
  void on_stream_opened(session::Session& session, session::StreamId id) override;
  void on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                      bool is_end) override;
  void on_stream_writable(session::Session& session, session::StreamId id) override;
  void on_stream_reset(session::Session& session, session::StreamId id,
                       std::uint64_t code) override;
  void on_stream_stopped(session::Session& session, session::StreamId id,
                         std::uint64_t code) override;
  void on_stream_closed(session::Session& session, session::StreamId id) override;
  void on_path_changed(session::Session& session) override;
  void on_batch_end(session::Session& session) override;
  void on_closed(session::Session& session, const session::CloseReason& reason) override;

 private:
  void on_frame(ByteView bytes);
  void on_control_data(ByteView data, bool is_end);
  bool is_relay(session::StreamId id) const {
    return relay_user_ != nullptr && id == relay_stream_;
  }
  void flush();

  const ConnectionId id_;
  session::Session* session_;  ///< nullptr once it is closed.
  ClientHandler& handler_;
  const NodeId node_;
  IpAddress prefix_;
  State state_ = State::kSilent;
  std::optional<session::StreamId> stream_;
  std::optional<session::StreamId> relay_stream_;  ///< Where the server relays.
  forward::StreamUser* relay_user_ = nullptr;      ///< Of `relay_stream_`; the relay's.
  ControlFrameDecoder decoder_;
  Bytes out_;  ///< Frames that the stream has no room for yet.
  path::TokenBucket messages_;
  path::TokenBucket signals_;
  path::TokenBucket receipts_{kReceiptsBurstMax, kReceiptInterval};
  path::TokenBucket reports_{kReportsBurstMax, kReportInterval};
  path::TokenBucket queries_{kQueriesBurstMax, kQueryInterval};
  bool was_planned_ = false;
  ControlEnd end_ = ControlEnd::kProtocol;
  std::string end_text_;
};

/// What limits are counted by: an IPv4 address, or the /64 of an IPv6 one (RFC 6177: nobody has
/// less).
IpAddress prefix_of(const IpAddress& address);

}  // namespace openp2p::server
