#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control.pb.h"
#include "forward/stream_user.h"
#include "server/simulated_server.h"
#include "sim/seeded_secrets.h"
#include "wire/control_frame.h"

namespace openp2p::server {

inline IdentityKey make_key(std::uint64_t seed) {
  sim::SeededSecrets secrets(seed);
  return IdentityKey::generate(secrets);
}

/// A node that says what it is told to and remembers what it hears.
class TestNode final : public session::SessionHandler {
 public:
  struct Options {
    std::uint64_t key_seed = 0;  ///< Equal seeds, equal keys.
    std::uint64_t seed = 0;
    std::uint64_t window_bytes = 1 << 20;
  };
  TestNode(sim::Host& host, SimulatedServer& server, const Options& options)
      : host_(host),
        server_(server),
        identity_(make_key(options.key_seed)),
        secrets_(options.seed),
        protection_(quic::make_packet_protection()),
        endpoint_(endpoint_options(options)),
        driver_(host, endpoint_) {
    socket_ = driver_.open();
    endpoint_.add_socket(socket_, {.ip = *host.address(sim::Family::kV4), .port = 0, .scope = 0});
  }

  void dial() {
    session_ = &endpoint_.dial(server_.key(), {server_.address()}, *this, host_.world().now());
    driver_.poke();
  }
  void say(const control::ClientMessage& message) {
    say_bytes(as_bytes(message.SerializeAsString()));
  }
  void say_bytes(ByteView message) {
    Bytes frame;
    append_control_frame(message, frame);
    write(frame);
  }
  void write(ByteView bytes) {
    if (session_ == nullptr) return;
    if (!stream_) stream_ = *session_->open_stream();
    session_->write(*stream_, bytes);
    driver_.poke();
  }
  void open_another_stream() {
    const auto stream = session_->open_stream();
    ASSERT_TRUE(stream);
    session_->write(*stream, as_bytes("x"));
    driver_.poke();
  }
  static control::ClientMessage hello(const Bytes& secret, std::string name,
                                      std::uint64_t incarnation = 1) {
    control::ClientMessage message;
    message.mutable_hello()->set_join_secret(std::string(as_text(secret)));
    message.mutable_hello()->set_name(std::move(name));
    message.mutable_hello()->set_version("1.0");
    message.mutable_hello()->set_incarnation(incarnation);
    return message;
  }
  /// Dials and says Hello as soon as there is a session.
  void join(const Bytes& secret, std::string name, std::uint64_t incarnation = 1) {
    hello_ = hello(secret, std::move(name), incarnation);
    dial();
  }
  /// As join(), with what the key alone proves now; what was heard before stays in `heard`.
  void come_back() {
    const std::uint64_t incarnation = hello_ ? hello_->hello().incarnation() + 1 : 1;
    const bool was_welcome = is_welcome();
    const Bytes secret =
        was_welcome || !hello_ ? Bytes() : to_bytes(as_bytes(hello_->hello().join_secret()));
    const std::string name = hello_ ? hello_->hello().name() : "node";
    closed_.reset();
    join(secret, name, incarnation);
  }
  void signal(const NodeId& to, std::string body, std::uint64_t number = 1) {
    control::ClientMessage message;
    message.mutable_signal()->set_node(std::string(as_text(to.key)));
    message.mutable_signal()->set_body(std::move(body));
    message.mutable_signal()->set_number(number);
    say(message);
  }
  void stop_reading() { is_reading_ = false; }
  session::Session* session() { return session_; }  ///< nullptr: closed.
  /// What another stream than the control stream brings goes to `user`, until stop_using().
  void use(session::StreamId id, forward::StreamUser& user) {
    used_stream_ = id;
    user_ = &user;
  }
  void stop_using() { user_ = nullptr; }
  void poke() { driver_.poke(); }
  void leave() {
    session_->close(0, "bye", host_.world().now());
    driver_.poke();
  }

  const NodeId& id() const { return identity_.id(); }
  bool is_established() const { return session_ != nullptr && is_established_; }
  bool is_closed() const { return closed_.has_value(); }
  const session::CloseReason& close_reason() const { return *closed_; }
  const control::ServerMessage* find(control::ServerMessage::KindCase kind) const {
    const auto found = std::ranges::find(heard, kind, &control::ServerMessage::kind_case);
    return found == heard.end() ? nullptr : &*found;
  }
  bool is_welcome() const { return find(control::ServerMessage::kWelcome) != nullptr; }
  std::size_t count(control::ServerMessage::KindCase kind) const {
    return static_cast<std::size_t>(
        std::ranges::count(heard, kind, &control::ServerMessage::kind_case));
  }

  void on_established(session::Session&) override {
    is_established_ = true;
    if (hello_) say(*hello_);
  }
  void on_stream_opened(session::Session&, session::StreamId) override {}
  void on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                      bool is_end) override {
    if (is_used(id)) return user_->on_stream_data(data, is_end);
    if (!is_reading_) return;
    session.consume(id, data.size());
    while (const auto message = decoder_.take(data).value()) {
      heard.emplace_back();
      EXPECT_TRUE(heard.back().ParseFromArray(message->data(), static_cast<int>(message->size())));
    }
  }
  void on_stream_writable(session::Session&, session::StreamId id) override {
    if (is_used(id)) user_->on_stream_writable();
  }
  void on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) override {
    if (is_used(id)) user_->on_stream_reset();
  }
  void on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) override {
    if (is_used(id)) user_->on_stream_stopped();
  }
  void on_stream_closed(session::Session&, session::StreamId id) override {
    if (is_used(id)) std::exchange(user_, nullptr)->on_stream_closed();
  }
  void on_path_changed(session::Session&) override {}
  void on_batch_end(session::Session&) override {
    if (user_ != nullptr) user_->on_batch_end();
  }
  void on_closed(session::Session&, const session::CloseReason& reason) override {
    if (user_ != nullptr) std::exchange(user_, nullptr)->on_session_lost();
    session_ = nullptr;
    stream_.reset();
    decoder_ = {};
    is_established_ = false;
    closed_ = reason;
  }

  std::vector<control::ServerMessage> heard;

 private:
  bool is_used(session::StreamId id) const { return user_ != nullptr && id == used_stream_; }
  session::Endpoint::Options endpoint_options(const Options& options) {
    session::Endpoint::Options out;
    out.identity = &identity_;
    out.protection = protection_.get();
    out.secrets = &secrets_;
    out.seed = options.seed;
    out.connection.connection_window_bytes = options.window_bytes;
    out.connection.stream_window_bytes = options.window_bytes;
    return out;
  }

  sim::Host& host_;
  SimulatedServer& server_;
  IdentityKey identity_;
  sim::SeededSecrets secrets_;
  std::unique_ptr<quic::PacketProtection> protection_;
  session::Endpoint endpoint_;
  sim::Driver<session::Endpoint> driver_;
  SocketId socket_;
  session::Session* session_ = nullptr;
  std::optional<session::StreamId> stream_;
  std::optional<session::StreamId> used_stream_;
  forward::StreamUser* user_ = nullptr;
  ControlFrameDecoder decoder_;
  std::optional<control::ClientMessage> hello_;
  std::optional<session::CloseReason> closed_;
  bool is_established_ = false;
  bool is_reading_ = true;
};

}  // namespace openp2p::server
