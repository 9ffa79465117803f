#pragma once

#include "session/session.h"

namespace openp2p::session {

/// An established session that carries nothing: tests of who uses sessions override what they look
/// at.
class FakeSession : public Session {
 public:
  const NodeId& peer() const override { return peer_; }
  bool is_established() const override { return true; }
  bool is_incoming() const override { return false; }
  std::optional<Path> path() const override { return std::nullopt; }
  path::PathFinder* paths() override { return nullptr; }
  Duration rtt() const override { return {}; }
  Result<StreamId> open_stream() override { return std::make_error_code(std::errc::not_connected); }
  MutableByteView write_room(StreamId) override { return {}; }
  void commit(StreamId, std::size_t) override {}
  std::size_t write(StreamId, ByteView) override { return 0; }
  void finish(StreamId) override {}
  void reset(StreamId, std::uint64_t) override {}
  void stop(StreamId, std::uint64_t) override {}
  void consume(StreamId, std::size_t) override {}
  void close(std::uint64_t, std::string_view, TimePoint) override {}
  void set_sealed_handler(SealedUse, SealedHandler*) override {}
  std::size_t sealed_payload_max() const override { return 0; }
  MutableByteView sealed_room(SealedUse, std::size_t) override { return {}; }
  void commit_sealed() override {}
  void export_key(std::string_view, ByteView, MutableByteView) const override {}
  std::uint64_t bytes_received() const override { return 0; }
  std::uint64_t bytes_sent() const override { return 0; }

 private:
  NodeId peer_{};
};

}  // namespace openp2p::session
