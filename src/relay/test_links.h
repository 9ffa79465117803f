#pragma once

#include <map>
#include <memory>
#include <optional>

#include "base/check.h"
#include "base/random.h"
#include "relay/hop.h"
#include "relay/relay_client.h"
#include "session/session.h"

/// What a TestNode does with its sessions.
namespace openp2p::relay {

class TestNode;

/// A session with a relay or an end: a Hop and streams.
class HopLink final : public session::SessionHandler {
 public:
  explicit HopLink(TestNode& node) : node_(node) {}

  void on_established(session::Session& opened) override;
  void on_stream_opened(session::Session&, session::StreamId id) override;
  void on_stream_data(session::Session&, session::StreamId id, ByteView data,
                      bool is_end) override {
    if (auto* user = user_of(id)) user->on_stream_data(data, is_end);
  }
  void on_stream_writable(session::Session&, session::StreamId id) override {
    if (auto* user = user_of(id)) user->on_stream_writable();
  }
  void on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) override {
    if (auto* user = user_of(id)) user->on_stream_reset();
  }
  void on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) override {
    if (auto* user = user_of(id)) user->on_stream_stopped();
  }
  void on_stream_closed(session::Session&, session::StreamId id) override {
    if (auto* user = user_of(id)) user->on_stream_closed();
    users.erase(id);
  }
  void on_path_changed(session::Session&) override {}
  void on_batch_end(session::Session&) override {}
  void on_closed(session::Session&, const session::CloseReason&) override;

  bool is_up() const { return hop && hop->session() != nullptr; }

  std::unique_ptr<Hop> hop;
  std::unique_ptr<RelayClient> client;  ///< At an end.
  std::map<session::StreamId, forward::StreamUser*> users;

 private:
  forward::StreamUser* user_of(session::StreamId id) {
    const auto found = users.find(id);
    return found == users.end() ? nullptr : found->second;
  }
  TestNode& node_;
};

/// A session through relays: sends a stream, keeps what comes.
class InnerLink final : public session::SessionHandler {
 public:
  void on_established(session::Session&) override { is_up = true; }
  void on_stream_opened(session::Session&, session::StreamId) override {}
  void on_stream_data(session::Session& from, session::StreamId id, ByteView data,
                      bool is_end) override {
    received.insert(received.end(), data.begin(), data.end());
    has_end |= is_end;
    from.consume(id, data.size());
  }
  void on_stream_writable(session::Session&, session::StreamId) override { pump(); }
  void on_stream_reset(session::Session&, session::StreamId, std::uint64_t) override {}
  void on_stream_stopped(session::Session&, session::StreamId, std::uint64_t) override {}
  void on_stream_closed(session::Session&, session::StreamId) override {}
  void on_path_changed(session::Session&) override {}
  void on_batch_end(session::Session&) override {}
  void on_closed(session::Session&, const session::CloseReason&) override {
    is_up = false;
    session = nullptr;
  }
  void send(std::size_t bytes) {
    const auto opened = session->open_stream();
    CHECK(opened.has_value());
    stream = *opened;
    sent.resize(bytes);
    Random(bytes).fill(sent);
    unsent = sent;
    pump();
  }
  void pump() {
    if (!stream) return;
    const std::size_t written = session->write(*stream, unsent);
    unsent.erase(unsent.begin(), unsent.begin() + static_cast<std::ptrdiff_t>(written));
    if (!unsent.empty()) return;
    session->finish(*stream);
    stream.reset();
  }

  session::Session* session = nullptr;
  bool is_up = false;
  bool has_end = false;
  Bytes received, sent, unsent;
  std::optional<session::StreamId> stream;
};

}  // namespace openp2p::relay
