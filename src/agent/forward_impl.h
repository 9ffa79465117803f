#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/forwards.h"
#include "agent/udp_clients.h"

/// One forward: its ports, and what came in by them. The inside of forwards.h.
namespace openp2p::agent {

/// One connection of a local program: waits for a session, then is a Flow.
class Forwards::Connection final : public forward::FlowOwner, public forward::LocalStreamHandler {
 public:
  Connection(Forward& forward, Platform::Stream local, std::uint16_t offset, TimePoint until)
      : forward_(forward), offset_(offset), deadline(until), local_(std::move(local)) {
    local_->set_handler(this);  // Told when the program gives up while it waits.
  }
  ~Connection() override {
    if (local_) local_->set_handler(nullptr);
  }

  bool start(PeerLink& peer);  ///< False: the peer grants no more streams now.
  void reset() {
    if (local_) local_->reset();
    finish();
  }
  void abort() { flow_ ? flow_->abort() : reset(); }
  bool is_waiting() const { return local_ != nullptr && !is_finished; }
  std::uint64_t bytes_sent() const { return flow_ ? flow_->bytes_sent() : 0; }
  std::uint64_t bytes_received() const { return flow_ ? flow_->bytes_received() : 0; }

  // forward::FlowOwner
  void on_answer(forward::Flow&, const forward::OpenAnswer& answer) override;
  void on_finished(forward::Flow&) override { finish(); }

  // forward::LocalStreamHandler, while it waits
  void on_readable(TimePoint) override {}
  void on_writable(TimePoint) override {}
  void on_failed(std::error_code, TimePoint) override { finish(); }

 private:
  /// The session's calls go through here, so that the link forgets the flow when it is gone.
  struct Router final : forward::StreamUser {
    explicit Router(Connection& connection) : owner(connection) {}
    void on_stream_data(ByteView data, bool is_end) override {
      owner.flow_->on_stream_data(data, is_end);
      owner.note_end("the peer's answer made no sense");
    }
    void on_stream_writable() override { owner.flow_->on_stream_writable(); }
    void on_stream_reset() override {
      owner.flow_->on_stream_reset();
      owner.note_end("the peer ended the connection without an answer");
    }
    void on_stream_stopped() override { owner.flow_->on_stream_stopped(); }
    void on_stream_closed() override {
      owner.flow_->on_stream_closed();
      owner.note_end("the peer ended the connection without an answer");
    }
    void on_batch_end() override { owner.flow_->on_batch_end(); }
    void on_session_lost() override {
      owner.peer_ = nullptr;
      owner.flow_->on_session_lost();
      owner.note_end("the session ended before the peer had answered");
    }
    Connection& owner;
  };
  void finish();
  void note_end(const char* why);

  Forward& forward_;
  const std::uint16_t offset_;  ///< From the forward's first port.

 public:
  const TimePoint deadline;
  bool is_finished = false;

 private:
  Platform::Stream local_;
  PeerLink* peer_ = nullptr;
  std::optional<forward::Flow> flow_;
  Router router_{*this};
  bool is_answered_ = false;
};

class Forwards::Forward final : public UdpClientsOwner {
 public:
  Forward(Forwards& owner, const ForwardSpec& spec)
      : owner_(owner), spec_(spec), udp_(owner.context_, owner.datagrams_, spec_, *this) {}

  void enable();
  void disable();
  bool is_listening() const { return listening_ > 0; }
  void on_accept(Platform::Stream local, std::uint16_t offset, TimePoint now);
  void call_peer(Duration patience = Duration::zero());
  void start_waiting(PeerLink& peer);
  void on_session_up(PeerLink& peer);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();
  bool has_waiting() const;
  ForwardStatus status() const;
  /// What the peer answered about the port that is so far from the first one.
  void note(const forward::OpenAnswer& answer, std::uint16_t offset);

  // UdpClientsOwner
  PeerLink* find_peer(std::string& reason) override {
    return owner_.find_peer_(spec_.peer, reason);
  }
  void on_udp_answer(const forward::OpenAnswer& answer, std::uint16_t offset) override {
    note(answer, offset);
  }
  void on_udp_trouble(std::string reason) override;
  void on_udp_finished() override { owner_.has_finished_ = true; }
  void on_udp_lacks_streams() override { owner_.lacks_streams_ = true; }

  Forwards& owner_;
  ForwardSpec spec_;
  std::string reason_;
  std::string hint_;
  std::list<Connection> connections_;
  std::uint64_t total_ = 0, failed_ = 0, sent_ = 0, received_ = 0;

 private:
  struct Port {
    std::unique_ptr<Platform::Listener> tcp;
    bool has_udp = false;
  };
  void listen();
  std::error_code listen_on(std::uint16_t offset);
  std::error_code listen_tcp(Port& port, const Address& at, std::uint16_t offset);
  std::error_code listen_udp(Port& port, const Address& at, std::uint16_t offset);
  Address address_of(std::uint16_t offset) const;
  void explain_timeout();

  std::vector<Port> ports_;
  UdpClients udp_;
  std::size_t listening_ = 0;     ///< Sockets.
  std::optional<Address> bound_;  ///< Of the first port.
  std::string listen_reason_;     ///< Why a port is not listened on.
  std::string listen_hint_;
  std::optional<TimePoint> listen_retry_at_;
};

}  // namespace openp2p::agent
