// Law: whatever a server says after the handshake, a node takes from it only what is within every
// limit and in turn, and a link that was dropped says why and tries again.
#include <algorithm>
#include <memory>

#include "agent/server_link.h"
#include "agent/test_party.h"
#include "agent/test_platform.h"
#include "base/check.h"
#include "forward/test_ends.h"
#include "quic/packet_protection.h"
#include "session/endpoint.h"

using namespace openp2p;
using namespace openp2p::agent;

namespace {

void check_record(const NodeRecord& record) {
  CHECK(is_valid_name(record.name));
  for (const std::string* label : {&record.version, &record.platform}) {
    CHECK(label->size() <= 64 && printable(*label, 64) == *label);
  }
}

/// Holds the link to its contract with the node.
class Checker final : public ServerLinkHandler, public ServerRelayHandler {
 public:
  void on_welcome(const Welcome& welcome) override {
    CHECK(!std::exchange(is_welcome_, true));
    CHECK(welcome.name.empty() || is_valid_name(welcome.name));
    CHECK(printable(welcome.network_name, 300) == welcome.network_name);
    CHECK(welcome.nodes.size() <= 10'000 && welcome.stun_servers.size() <= 8);
    for (const NodeRecord& record : welcome.nodes) check_record(record);
    for (const std::string& server : welcome.stun_servers) CHECK(printable(server, 300) == server);
  }
  void on_refused(const Refusal& refusal) override {
    CHECK(printable(refusal.text, 500) == refusal.text && refusal.text.size() <= 403);
    was_refused = true;
  }
  void on_node_changed(const NodeRecord& record) override {
    CHECK(is_welcome_);
    check_record(record);
  }
  void on_node_removed(const NodeId&) override { CHECK(is_welcome_); }
  void on_signal(const NodeId&, ByteView body, std::optional<Address>) override {
    CHECK(is_welcome_ && body.size() <= kControlMessageBytesMax);
  }
  void on_signal_failed(const NodeId&, std::uint64_t, SignalFailure) override {
    CHECK(is_welcome_);
  }
  void on_server_lost() override { CHECK(std::exchange(is_welcome_, false)); }
  void on_observed(const Address&) override { CHECK(is_welcome_); }
  void on_relay_secret(const RelaySecretKey&) override { CHECK(is_welcome_); }
  void on_relay_grant(const RelayGrant& grant) override {
    CHECK(is_welcome_ && grant.relays.size() <= kGrantRelaysMax);
    CHECK(printable(grant.reason, 500) == grant.reason);
    CHECK(printable(grant.reason_name, 500) == grant.reason_name);
    for (const GrantedRelay& relay : grant.relays) {
      CHECK(relay.ticket.size() <= kTicketBytesMax);
      CHECK(relay.name.empty() || is_valid_name(relay.name));
    }
  }
  void on_credit(const Credit& credit) override {
    CHECK(is_welcome_ && printable(credit.reason, 500) == credit.reason);
  }
  void on_stranger_signal(const NodeId&, ByteView body, std::optional<Address>) override {
    CHECK(is_welcome_ && body.size() <= kControlMessageBytesMax);
  }

  bool was_refused = false;

 private:
  bool is_welcome_ = false;
};

}  // namespace

/// The first byte is the size of the pieces in which the rest comes, and whether the stream ends.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Party kNode(1), kServer(2);
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] / 2 * 8;
  const bool has_end = data[0] % 2 == 1;
  ByteView stream = std::as_bytes(std::span(data, size)).subspan(1);

  const auto protection = quic::make_packet_protection();
  sim::SeededSecrets secrets(3);
  NoPlatform platform;
  NodeContext context{kNode.key(), platform, secrets, Log(),      Random(4),
                      5,           nullptr,  nullptr, TimePoint{}};
  session::Endpoint::Options options;
  options.identity = &kNode.key();
  options.protection = protection.get();
  options.secrets = &secrets;
  session::Endpoint endpoint(options);
  context.endpoint = &endpoint;
  Checker checker;
  ServerLink link(context, checker, {kServer.id(), {"192.0.2.1:27183"}, {}, "node", "1", "test"});
  link.set_relay_handler(&checker);
  link.start();
  forward::FakeSession session;
  link.on_established(session);

  while (!stream.empty() && link.state() != ServerLink::State::kWaiting) {
    const ByteView part = stream.first(std::min(piece, stream.size()));
    stream = stream.subspan(part.size());
    link.on_stream_data(session, forward::FakeSession::kStream, part, has_end && stream.empty());
  }

  const bool is_dropped = link.state() == ServerLink::State::kWaiting;
  CHECK(is_dropped == link.retry_in().has_value());
  CHECK(!is_dropped || !link.reason().empty() || checker.was_refused);
  CHECK(is_dropped || !has_end || size == 1);
  return 0;
}
