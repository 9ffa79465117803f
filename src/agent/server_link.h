#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/server_message.h"
#include "agent/stream_users.h"
#include "wire/control_frame.h"

/// This node's control session with its server: dials, says Hello, carries signals, and never stops
/// trying.
namespace openp2p::agent {

class ServerLinkHandler {
 public:
  virtual ~ServerLinkHandler() = default;
  virtual void on_welcome(const Welcome& welcome) = 0;
  virtual void on_refused(const Refusal& refusal) = 0;
  virtual void on_node_changed(const NodeRecord& node) = 0;
  virtual void on_node_removed(const NodeId& id) = 0;
  /// `seen_at`: where the server sees the sender.
  virtual void on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at) = 0;
  virtual void on_signal_failed(const NodeId& to, std::uint64_t number, SignalFailure why) = 0;
  virtual void on_server_lost() = 0;
  /// The session is on a path, or on another one.
  virtual void on_server_path(path::Transport) {}
  /// This node's address as the server sees it now.
  virtual void on_observed(const Address& address) = 0;
};

/// What the server says about relays (relay/relay_client.h, relay_service.h).
class ServerRelayHandler {
 public:
  virtual ~ServerRelayHandler() = default;
  /// As a relay this node proves tickets with it from now on.
  virtual void on_relay_secret(const RelaySecretKey& secret) = 0;
  virtual void on_relay_grant(const RelayGrant& grant) = 0;
  virtual void on_credit(const Credit& credit) = 0;
  virtual void on_account_spent(const AccountSpent&) {}
  /// From a node of another network, with which a relay was granted to one of the two.
  virtual void on_stranger_signal(const NodeId& from, ByteView body,
                                  std::optional<Address> seen_at) = 0;
};

class ServerLink final : public session::SessionHandler {
 public:
  struct Options {
    NodeId server;
    std::vector<std::string> addresses;  ///< "host:port"
    Bytes join_secret;                   ///< Empty once joined.
    std::string name;
    std::string version;
    std::string platform;
    std::vector<std::string> told_addresses = {};  ///< By the server: tried after the others.
  };
  enum class State { kWaiting, kResolving, kConnecting, kConnected };

  ServerLink(NodeContext& context, ServerLinkHandler& handler, Options options);
  ~ServerLink() override;

  /// nullptr: nobody wants to hear of relays. Outlives the link.
  void set_relay_handler(ServerRelayHandler* handler) { relay_handler_ = handler; }
  void start();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  /// The network changed: what waits, tries now.
  void on_network_changed();
  /// False where there is no connection: nothing was sent.
  bool send_signal(const NodeId& to, ByteView body, std::uint64_t number);
  /// Asks for this node's address as the server sees it: on_observed(). Soon repeated calls do
  /// nothing.
  void ask_address();
  void forget_join_secret();
  // As send_signal(). Nothing of it is repeated: who wants an answer asks again.
  bool send_relay_wish(const RelayWish& wish);
  bool send_share_offer(const ShareOffer& offer);
  bool send_receipt(ByteView body, ByteView signature);
  bool send_relay_report(const RelayReport& report);
  bool ask_credit(std::uint64_t number);

  State state() const { return state_; }
  const std::string& reason() const { return reason_; }
  std::optional<Duration> retry_in() const;
  std::string server_address() const;
  std::optional<Duration> rtt() const;
  std::optional<Path> path() const;  ///< Of the session, if there is one.
  /// Where the server sees this node's UDP over IPv4, also while the session uses IPv6.
  std::optional<Address> reflexive_v4() const;
  /// The server's wall clock now, as it last told, advanced by this machine's monotonic clock: this
  /// machine's own wall clock may be wrong by years. nullopt: not told yet.
  std::optional<WallTime> server_time() const;
  const NodeId& server_id() const { return options_.server; }

  /// The session while it is welcome, for who has a stream of their own in it (a relay's client).
  session::Session* session() { return is_welcome_ ? session_ : nullptr; }
  /// As PeerLink::use().
  void use(session::StreamId id, forward::StreamUser* user) { users_.use(id, user); }

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
  std::vector<std::string> names() const;
  session::DialHints hints() const;
  void resolve_next();
  void connect();
  void lose(std::string reason);
  void send_frame(ByteView message);
  void flush();
  bool send_if_connected(ByteView message);
  void on_message(ByteView message);
  void on_welcome(const Welcome& welcome);
  void on_refused(const Refusal& refusal);
  void on_signal(const CarriedSignal& signal);
  void on_relay_news(const ServerMessage& message);
  void drop_session(std::string_view reason);

  NodeContext& context_;
  ServerLinkHandler& handler_;
  ServerRelayHandler* relay_handler_ = nullptr;
  Options options_;
  State state_ = State::kWaiting;
  std::string reason_ = "starting";
  std::vector<std::string> names_;  ///< To be looked up in this try.
  std::vector<Address> addresses_;  ///< Resolved so far in it.
  std::optional<Address> won_;      ///< The path in use last, in this network.
  bool won_by_tcp_ = false;
  std::size_t resolving_ = 0;
  std::unique_ptr<Platform::Pending> lookup_;
  session::Session* session_ = nullptr;
  std::optional<session::StreamId> stream_;
  ControlFrameDecoder decoder_;
  Bytes outbox_;
  bool is_welcome_ = false;
  unsigned failures_ = 0;
  std::optional<TimePoint> retry_at_;
  std::optional<TimePoint> lost_path_at_;  ///< Gives the path up if none is back by then.
  TimePoint connected_at_;
  std::optional<TimePoint> asked_address_at_;
  struct ToldTime {
    WallTime wall;
    TimePoint at;
  };
  std::optional<ToldTime> told_time_;
  StreamUsers users_;  ///< Of streams beside the control stream.
};

}  // namespace openp2p::agent
