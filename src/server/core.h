#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "base/log.h"
#include "nat/stun_service.h"
#include "server/call_backs.h"
#include "server/client.h"
#include "server/credit_ledger.h"
#include "server/directory.h"
#include "server/moment.h"
#include "server/relay_broker.h"
#include "server/relay_secrets.h"
#include "server/server_relay.h"
#include "server/store.h"
#include "server/stream_ports.h"
#include "session/endpoint.h"

namespace openp2p::server {

/// The rendezvous server without its sockets: control sessions, directory, signalling, STUN.
///
/// A session may be opened by anybody who proves a key; membership is decided by its Hello. Every
/// limit that holds for one client stands in client.h, for sessions in session::Endpoint::Options,
/// for all of them here. Sans-I/O: the driver loops as with any machine; after a store has called
/// back, it calls on_timeout().
/// Threading: one owner, which is also the store's.
class Core final : private session::Gatekeeper,
                   private session::StunHandler,
                   private ClientHandler {
 public:
  /// Sessions without a Hello yet, in all and of one address (a company's NAT after a power cut).
  static constexpr std::size_t kSilentMax = 1'024;
  static constexpr std::size_t kSilentPerAddressMax = 128;
  static constexpr Duration kHelloTimeout = std::chrono::seconds(10);
  /// How long a refused client may take to read why.
  static constexpr Duration kRefusedLinger = std::chrono::seconds(2);
  /// A node removed by a command loses its session within this and a round trip.
  static constexpr Duration kChangePollInterval = std::chrono::seconds(1);
  /// After kill -9 of the server, "last seen" is wrong by this at most.
  static constexpr Duration kTouchInterval = std::chrono::minutes(5);
  static constexpr std::size_t kTouchBatchMax = 1'000;
  /// What a control session may have in flight each way: small, since there are 20,000 of them.
  static constexpr std::size_t kSendRingBytes = 16 << 10;
  static constexpr std::uint64_t kReceiveWindowBytes = 96 << 10;
  static constexpr std::uint64_t kStreamsMax = 2;  // The second one is for the relay.

  static constexpr std::uint64_t kRelayAllowanceBytes = 1 << 30;

  struct Options {
    /// The core sets gatekeeper, stun and what limits control sessions; the rest is the caller's.
    session::Endpoint::Options endpoint;
    Store* store = nullptr;
    std::vector<nat::StunSocket> sockets;
    nat::SourceLimitConfig stun_limit;
    std::vector<std::string> stun_servers;  ///< "address:port", told to nodes. Primary first.
    std::vector<std::string> addresses;     ///< Of the server, as in join tokens; told to nodes.
    OpenCall open_call;                     ///< Of CallBacks; may be empty.
    /// What each network may borrow a month without lending.
    std::uint64_t relay_allowance_bytes = kRelayAllowanceBytes;
    std::uint64_t relay_bits_per_second = 0;  ///< What the server itself relays; 0: nothing.
    Log log;
  };

  explicit Core(Options options);
  ~Core() override;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                    std::size_t segment_bytes, Moment now);
  /// Of TCP connections: as Endpoint's, which closes those that nobody uses by Options::sockets.
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    Moment now);
  void on_disconnected(SocketId socket, std::error_code why, Moment now);
  void on_timeout(Moment now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<session::Transmit> poll_transmit(MutableByteView buffer, Moment now);
  /// Closes every session; poll_transmit() then says so to the clients. Idempotent.
  void stop(Moment now);

  struct Counters {
    std::uint64_t hellos = 0;
    std::uint64_t joins = 0;
    std::uint64_t refusals = 0;
    std::uint64_t signals = 0;
    std::uint64_t signals_failed = 0;
    std::uint64_t clients_doomed = 0;
  };
  const Counters& counters() const { return counters_; }
  std::size_t online_count() const { return directory_.online_count(); }
  std::vector<NodeId> online() const { return directory_.online_nodes(); }
  std::size_t session_count() const { return clients_.size(); }
  const session::Endpoint& endpoint() const { return *endpoint_; }
  const RelayBroker& broker() const { return broker_; }
  const CreditLedger& ledger() const { return ledger_; }
  bool is_a_relay() const { return relay_ && relay_->service().allocation_count() > 0; }  ///< Now.
  const ServerRelay* relay() const { return relay_ ? &*relay_ : nullptr; }  ///< nullptr: off.

 private:
  struct Admission;
  struct Membership {
    NetworkId network{};
    std::vector<Node> nodes;
  };

  // session::Gatekeeper
  bool is_welcome(const NodeId& peer) override;
  session::SessionHandler* on_session(session::Session& session) override;
  // session::StunHandler
  void on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint now) override;
  // ClientHandler
  TimePoint now() const override { return now_.mono; }
  void on_message(Client& client, ClientMessage message) override;
  void on_moved(Client& client) override;
  forward::StreamUser* on_relay_stream(Client& client, session::Session& session,
                                       session::StreamId id) override;
  void on_doomed(Client& client) override;
  void on_gone(Client& client) override;

  void call_back(CallBacks::Request request, ByteView asked, TimePoint now);
  void say(const CallBacks::Say& say);
  static Result<Admission> admit(Records& records, const JoinRequest& request, bool has_secret);
  void on_hello(Client& client, Hello hello);
  void on_admission(ConnectionId id, const Hello& hello, Result<Admission> admission);
  void refuse(Client& client, const Refusal& refusal);
  void on_signal(Client& client, const SignalRequest& request);
  void on_rename(Client& client, const Rename& rename);
  struct SignalWay {
    std::optional<ConnectionId> connection;
    SignalFailure failure = SignalFailure::kNoSuchNode;
    bool is_stranger = false;
  };
  SignalWay signal_way(const Client& from, const NodeId& to) const;
  void on_relay_message(Client& client, const ClientMessage& message);
  void on_receipt(Client& relay, const SignedReceipt& receipt);
  void on_report(Client& client, const RelayReport& report);
  void on_credit_query(Client& client, const CreditQuery& query);
  WallTime server_time();
  void set_now(Moment now);
  void send_grants();
  void record_credits(bool is_last);
  void forget_removed(const NodeId& node);
  void forget_empty(const NetworkId& network);
  void log_relays() const;
  void on_members(const Result<std::vector<Membership>>& memberships);
  struct Entry {
    std::unique_ptr<Client> client;
    bool is_silent = true;              ///< Counts towards kSilentMax.
    std::optional<TimePoint> deadline;  ///< For its Hello, or for reading why it is refused.
  };
  void leave_silence(Entry& entry);
  void set_deadline(Entry& entry, std::optional<TimePoint> at);
  void doom_late();

  void settle();
  void apply(const Directory::Effect& effect);
  void poll_changes();
  void touch_online();
  void record_seen();
  Entry& entry(const Client& client);
  Client* find_open(ConnectionId id);
  /// Runs a store's answer later, in its turn: this object may be gone by then, or have another
  /// time.
  template <class Done>
  auto later(Done done);
  std::optional<TimePoint> next_upkeep() const;

  Store& store_;
  Log log_;
  Moment now_;
  const NodeId server_id_;
  std::optional<Moment> started_;  ///< The first input's.
  Directory directory_;
  const RelaySecrets relay_secrets_;
  CreditLedger ledger_;
  RelayBroker broker_;
  std::optional<ServerRelay> relay_;
  nat::StunService stun_;
  StreamPorts streams_;
  CallBacks calls_;
  std::map<ConnectionId, Entry> clients_;
  std::set<std::pair<TimePoint, ConnectionId>> deadlines_;  ///< Those of the entries.
  std::map<IpAddress, std::size_t> silent_;                 ///< By prefix.
  std::size_t silent_count_ = 0;
  std::vector<ConnectionId> doomed_;
  std::vector<ConnectionId> gone_;
  std::vector<std::function<void()>> answers_;  ///< Of the store, to be handled at the next input.
  std::map<NodeId, Seen> seen_;                 ///< To be recorded.
  bool is_recording_ = false;
  bool is_polling_ = false;
  bool is_stopped_ = false;
  TimePoint poll_at_;
  TimePoint touch_at_;
  std::uint64_t next_id_ = 1;
  Counters counters_;
  std::shared_ptr<Core*> self_;  // Answers under way hold it weakly: they outlive this object.
  std::unique_ptr<session::Endpoint> endpoint_;  // Last: closed sessions call into all the rest.
};

template <class Done>
auto Core::later(Done done) {
  return [core = std::weak_ptr<Core*>(self_), done = std::move(done)](auto result) mutable {
    const auto alive = core.lock();
    if (!alive) return;
    (*alive)->answers_.push_back([done = std::move(done), result = std::move(result)]() mutable {
      done(std::move(result));
    });
  };
}

}  // namespace openp2p::server
