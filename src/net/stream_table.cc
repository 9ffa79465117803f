#include "net/stream_table.h"

#include <utility>

#include "net/clock.h"

namespace openp2p::net {

class StreamTable::Entry final : public FramedHandler {
 public:
  Entry(StreamTable& table, SocketId id, bool is_incoming)
      : table_(table), id_(id), is_incoming_(is_incoming) {}

  void set_stream(std::unique_ptr<FramedStream> stream) { stream_ = std::move(stream); }
  FramedStream& stream() { return *stream_; }

  void on_connected(TimePoint now) override {
    table_.config_.handler.on_connected(id_, stream_->local_address(), stream_->remote_address(),
                                        is_incoming_, now);
  }
  void on_train(const DatagramTrain& train, TimePoint now) override {
    table_.config_.handler.on_datagrams(id_, stream_->remote_address(), train, now);
  }
  void on_closed(std::error_code why, TimePoint now) override {
    table_.retire(id_);
    table_.config_.handler.on_disconnected(id_, why, now);
  }

 private:
  StreamTable& table_;
  const SocketId id_;
  const bool is_incoming_;
  std::unique_ptr<FramedStream> stream_;
};

StreamTable::StreamTable(const Config& config)
    : config_(config), sweep_(config.io, [this](TimePoint) { retired_.clear(); }) {}

StreamTable::~StreamTable() = default;

Result<Address> StreamTable::listen(const Address& local, bool shares_port) {
  auto listener = TcpListener::listen_bare(
      config_.io, local, shares_port, [this](Descriptor socket) { accept(std::move(socket)); });
  if (!listener) return listener.error();
  listeners_.push_back(std::move(*listener));
  return listeners_.back()->local_address();
}

std::optional<SocketId> StreamTable::connect(const Address& remote, std::uint16_t local_port,
                                             Duration timeout, std::optional<IpAddress> source) {
  if (streams_.size() >= config_.streams_max) return std::nullopt;
  const SocketId id = config_.handler.new_socket_id();
  auto entry = std::make_unique<Entry>(*this, id, /*is_incoming=*/false);
  auto stream = FramedStream::connect(config_of(*entry), remote, local_port, timeout, source);
  if (!stream) return std::nullopt;
  entry->set_stream(std::move(*stream));
  streams_.emplace(id, std::move(entry));
  return id;
}

void StreamTable::accept(Descriptor socket) {
  if (streams_.size() >= config_.streams_max) {
    ++counters_.turned_away;
    return;
  }
  ++counters_.accepted;
  const SocketId id = config_.handler.new_socket_id();
  auto entry = std::make_unique<Entry>(*this, id, /*is_incoming=*/true);
  Entry& accepted = *entry;
  accepted.set_stream(FramedStream::adopt(config_of(accepted), std::move(socket)));
  streams_.emplace(id, std::move(entry));
  accepted.on_connected(monotonic_now());
}

void StreamTable::send(SocketId socket, const DatagramTrain& train, TimePoint now) {
  const auto found = streams_.find(socket);
  if (found != streams_.end()) found->second->stream().send(train, now);
}

void StreamTable::close(SocketId socket) { retire(socket); }

void StreamTable::close_all() {
  listeners_.clear();
  while (!streams_.empty()) retire(streams_.begin()->first);
}

void StreamTable::retire(SocketId socket) {
  const auto found = streams_.find(socket);
  if (found == streams_.end()) return;
  found->second->stream().close();
  retired_.push_back(std::move(found->second));
  streams_.erase(found);
  sweep_.request();
}

FramedStream::Config StreamTable::config_of(Entry& entry) const {
  return {.io = config_.io,
          .buffers = config_.buffers,
          .handler = entry,
          .datagram_bytes_max = kDatagramBytesMax};
}

}  // namespace openp2p::net
