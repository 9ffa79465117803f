#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "quic/connection.h"
#include "session/admission.h"
#include "session/endpoint.h"
#include "session/session_impl.h"
#include "session/socket_ledger.h"

namespace openp2p::session {

/// Own datagrams (STUN) that wait for the next poll; more mean that nobody polls.
inline constexpr std::size_t kOutboxMax = 256;

using ConnectionId = quic::Connection::ConnectionId;

/// Whose a datagram is, by the id that it is addressed to.
struct Addressee {
  SessionImpl* session = nullptr;
  std::optional<SealedUse> use = {};  ///< nullopt: QUIC's.
};

/// The inside of Endpoint: its books, and the life of a datagram (endpoint.cc), and who may open a
/// session here (endpoint_accept.cc).
class Endpoint::Impl final : public SessionOwner {
 public:
  explicit Impl(const Options& options)
      : options_(options),
        random_(options.seed),
        factory_({options.identity, options.protection, options.secrets}),
        admission_({options.sessions_max, options.sessions_per_address_max,
                    options.handshakes_before_retry, options.handshakes_max}),
        ledger_(options.sockets) {}

  struct Socket {
    SocketId id;
    Address local;
  };
  struct Outgoing {
    SocketId socket;
    Address to;
    Bytes datagram;
    bool is_owners = false;  // From send_datagram().
  };
  using Serial = SessionImpl::Serial;

  // SessionOwner
  void on_work(SessionImpl& session) override;
  void on_tag(SessionImpl& session, path::FinderTag tag) override;
  void on_sealed_id(SessionImpl& session, SealedId id, SealedUse use) override;
  std::optional<SocketId> socket_for(const Address& remote) const override;
  std::vector<path::Candidate> socket_candidates() const override;
  SocketLedger& ledger() override { return ledger_; }
  path::ProbeBudget& probes() override { return probes_; }
  path::MethodHistory& history() override { return history_; }
  std::uint16_t tcp_port() const override { return tcp_port_; }
  std::optional<Duration> mapping_lifetime() const override { return mapping_lifetime_; }
  Gatekeeper* gatekeeper() override { return options_.gatekeeper; }
  const quic::PacketProtection& protection() const override { return *options_.protection; }
  SealedShared& sealed() override { return sealed_; }
  std::unique_ptr<quic::Connection> connect(SessionImpl& session, TimePoint now) override;
  Random fork_random() override { return random_.fork(); }
  Log log() const override { return options_.log; }

  SessionImpl& add_session(SessionImpl::Origin origin, TimePoint now);
  void on_stun(const Path& from, ByteView datagram, TimePoint now);
  std::size_t on_train(const Path& from, ByteView datagrams, std::size_t segment_bytes,
                       TimePoint now);
  void on_quic(SessionImpl* session, const Path& from, ByteView datagram, TimePoint now);
  void note_in_batch(SessionImpl& session);
  Addressee find(ByteView datagram);
  SessionImpl* find(Serial serial);
  bool is_reset_of(const Path& from, ByteView datagram, TimePoint now);
  void list_remote(SessionImpl& session, std::optional<Address> remote);
  SessionImpl* open(const Path& from, ByteView datagram, TimePoint now);
  SessionImpl* accept(const Path& from, ByteView datagram, TimePoint now);
  void accept_meeting(SessionImpl& session, const Path& from, ByteView datagram, TimePoint now);
  void answer_unknown(const Path& from, ByteView datagram, TimePoint now);
  void update(SessionImpl& session, TimePoint now);
  void remove(SessionImpl& session, TimePoint now);
  void end_batch();

  const Options options_;
  Random random_;
  quic::ConnectionFactory factory_;
  Admission admission_;
  SocketLedger ledger_;  // Outlives the sessions, which hold its sources.
  path::ProbeBudget probes_;
  path::MethodHistory history_;
  SealedShared sealed_;  // Likewise: they hold its memory.
  Counters counters_;
  std::vector<Socket> sockets_;
  std::uint16_t tcp_port_ = 0;
  std::optional<Duration> mapping_lifetime_;
  std::deque<Outgoing> outbox_;

  Serial next_serial_ = 1;
  std::map<Serial, std::unique_ptr<SessionImpl>> sessions_;
  std::unordered_map<ConnectionId, Addressee> by_id_;
  std::unordered_multimap<path::FinderTag, SessionImpl*> by_tag_;
  std::unordered_multimap<Address, SessionImpl*> by_remote_;
  std::deque<Serial> work_;          ///< Sessions to be polled, each at most once.
  std::vector<SessionImpl*> batch_;  ///< Sessions that got datagrams since the last poll.
  std::set<std::pair<TimePoint, Serial>> timers_;
};

}  // namespace openp2p::session
