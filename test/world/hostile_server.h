#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "control.pb.h"
#include "session/endpoint.h"
#include "sim/driver.h"
#include "sim/seeded_secrets.h"
#include "wire/control_frame.h"
#include "wire/join_token.h"

namespace openp2p::test {

/// A server that has the key of the token and says what the test wants.
class HostileServer final : public session::Gatekeeper, public session::SessionHandler {
 public:
  static constexpr std::uint16_t kPort = 27183;

  HostileServer(sim::Host& host, std::uint64_t seed)
      : host_(host),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        protection_(quic::make_packet_protection()),
        endpoint_(endpoint_options()),
        driver_(host, endpoint_) {
    const SocketId socket = driver_.open(kPort);
    endpoint_.add_socket(socket, {IpAddress::any_v4(), kPort});
  }

  JoinToken token() {
    const Address address{*host_.address(sim::Family::kV4), kPort};
    return {.addresses = {address.text()},
            .server = identity_.id(),
            .secret = Bytes(JoinToken::kSecretBytes, std::byte{7}),
            .expires = {}};
  }

  void send(const control::ServerMessage& message) {
    Bytes frame;
    append_control_frame(as_bytes(message.SerializeAsString()), frame);
    send_raw(frame);
  }
  void send_raw(ByteView bytes) {
    if (session == nullptr) return;
    outbox_.insert(outbox_.end(), bytes.begin(), bytes.end());
    pump();
  }
  void welcome(const std::vector<control::Node>& nodes = {}) {
    control::ServerMessage message;
    message.mutable_welcome()->set_name("victim");
    message.mutable_welcome()->set_network_name("home");
    for (const control::Node& node : nodes) *message.mutable_welcome()->add_nodes() = node;
    send(message);
  }
  void signal(const NodeId& from, ByteView body) {
    control::ServerMessage message;
    message.mutable_signal()->set_node(std::string(as_text(from.key)));
    message.mutable_signal()->set_body(std::string(as_text(body)));
    send(message);
  }
  void close(std::uint64_t code, std::string_view reason) {
    if (session != nullptr) session->close(code, reason, host_.world().now());
    driver_.poke();
  }

  std::function<void()> on_hello;
  std::function<void(const control::ClientMessage&)> on_message;
  session::Session* session = nullptr;  ///< The last one.
  session::StreamId stream;
  int hellos = 0;

  // session::Gatekeeper
  bool is_welcome(const NodeId&) override { return true; }
  session::SessionHandler* on_session(session::Session&) override { return this; }

  // session::SessionHandler
  void on_established(session::Session&) override {}
  void on_stream_opened(session::Session& from, session::StreamId id) override {
    session = &from;
    stream = id;
    decoder_ = ControlFrameDecoder();
    outbox_.clear();
  }
  void on_stream_data(session::Session& from, session::StreamId id, ByteView data, bool) override {
    from.consume(id, data.size());
    while (true) {
      const auto frame = decoder_.take(data);
      if (!frame || !*frame) return;
      control::ClientMessage message;
      CHECK(message.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size())));
      if (message.has_hello()) {
        ++hellos;
        if (on_hello) on_hello();
      }
      if (on_message) on_message(message);
    }
  }
  void on_stream_writable(session::Session&, session::StreamId) override { pump(); }
  void on_stream_reset(session::Session&, session::StreamId, std::uint64_t) override {}
  void on_stream_stopped(session::Session&, session::StreamId, std::uint64_t) override {}
  void on_stream_closed(session::Session&, session::StreamId) override {}
  void on_path_changed(session::Session&) override {}
  void on_batch_end(session::Session&) override {}
  void on_closed(session::Session& ended, const session::CloseReason&) override {
    if (session == &ended) session = nullptr;
  }

 private:
  session::Endpoint::Options endpoint_options() {
    session::Endpoint::Options options;
    options.identity = &identity_;
    options.protection = protection_.get();
    options.secrets = &secrets_;
    options.gatekeeper = this;
    options.wake = [this] {
      if (host_.world().is_pending(wake_)) return;
      wake_ = host_.world().after(Duration::zero(), [this] { driver_.poke(); });
    };
    return options;
  }
  void pump() {
    const std::size_t written = session->write(stream, outbox_);
    outbox_.erase(outbox_.begin(), outbox_.begin() + static_cast<std::ptrdiff_t>(written));
  }

  sim::Host& host_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  std::unique_ptr<quic::PacketProtection> protection_;
  sim::EventId wake_;
  ControlFrameDecoder decoder_;
  Bytes outbox_;
  session::Endpoint endpoint_;
  sim::Driver<session::Endpoint> driver_;
};

}  // namespace openp2p::test
