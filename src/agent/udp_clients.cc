#include "agent/udp_clients.h"

#include <utility>

#include "wire/each_datagram.h"

namespace openp2p::agent {

using forward::LocalEnds;
using forward::OpenAnswer;
using forward::OpenStatus;
using forward::UdpFlow;

class UdpClients::Port final : public forward::LocalDatagramsHandler {
 public:
  Port(UdpClients& owner, std::uint16_t port_offset) : offset(port_offset), owner_(owner) {}

  void on_datagrams(const LocalEnds& from, const DatagramTrain& train, TimePoint now) override {
    owner_.on_datagrams(*this, from, train, now);
  }
  void on_failed(std::error_code, TimePoint) override {}  // Only sockets with one peer are told.

  const std::uint16_t offset;
  Platform::Datagrams datagrams;

 private:
  UdpClients& owner_;
};

/// Waits for a session, then is a UdpFlow.
class UdpClients::Client final : public forward::UdpFlowOwner {
 public:
  Client(UdpClients& clients, Port& port, const LocalEnds& program_ends)
      : used_at(clients.context_.now),
        deadline(clients.context_.now + kPatience),
        ends(program_ends),
        offset(port.offset),
        clients_(clients),
        port_(port) {}

  void start(PeerLink& peer, session::StreamId stream, forward::SealedFlows& flows) {
    peer_ = &peer;
    flow_.emplace(*peer.session(), stream, flows, *this);
    peer.use(stream, &*flow_);
    forward::OpenRequest request;
    request.kind = forward::StreamKind::kUdp;
    request.host = clients_.spec_.host;
    request.port = static_cast<std::uint16_t>(clients_.spec_.port + offset);
    flow_->open(request, *early_);
    early_.reset();
  }
  void send(ByteView datagram) {
    if (flow_) return flow_->send(datagram);
    dropped_ += early_->push(datagram);
  }
  void end() { flow_ ? flow_->end() : give_up(); }
  /// What waited has waited in vain.
  void give_up() {
    if (early_) dropped_ += early_->count();
    early_.reset();
    finish();
  }

  // forward::UdpFlowOwner
  void on_datagram(UdpFlow&, ByteView datagram) override {
    port_.datagrams->send(ends, datagram);
    if (std::exchange(has_trouble_, false)) clients_.owner_.on_udp_answer({}, offset);
  }
  void on_datagrams_end(UdpFlow&) override {
    port_.datagrams->flush(clients_.context_.now);
    is_answered = true;
    clients_.touch(*this);
  }
  void on_answer(UdpFlow& flow, const OpenAnswer& answer) override {
    has_trouble_ = answer.status != OpenStatus::kOpened;
    is_failed |= !flow.is_opened();
    clients_.owner_.on_udp_answer(answer, offset);
  }
  void on_finished(UdpFlow& flow) override {
    if (!flow.is_opened() && !is_failed && !is_ended_here) {
      is_failed = true;
      const bool has_session = peer_ != nullptr && peer_->session() != nullptr;
      clients_.owner_.on_udp_trouble(has_session
                                         ? "the peer ended the flow without an answer"
                                         : "the session ended before the peer had answered");
    }
    if (peer_ != nullptr) std::exchange(peer_, nullptr)->use(flow.stream(), nullptr);
    finish();
  }

  void add_to(ForwardStatus& status) const {
    status.flows_failed += is_failed;
    status.datagrams_dropped += dropped_;
    if (!flow_) return;
    const UdpFlow::Counters& counters = flow_->counters();
    status.datagrams_sent += counters.sent;
    status.datagrams_received += counters.received;
    status.datagrams_dropped += counters.dropped;
    status.bytes_sent += counters.bytes_sent;
    status.bytes_received += counters.bytes_received;
  }

  Clients* list = nullptr;  ///< Where it is, and at which place.
  Clients::iterator place;
  TimePoint used_at;
  const TimePoint deadline;
  const LocalEnds ends;
  const std::uint16_t offset;
  bool is_answered = false;
  bool is_failed = false;
  bool is_ended_here = false;

 private:
  void finish() { clients_.on_client_finished(*this); }

  UdpClients& clients_;
  Port& port_;
  PeerLink* peer_ = nullptr;
  std::optional<forward::EarlyDatagrams> early_{std::in_place};
  std::optional<UdpFlow> flow_;
  std::uint64_t dropped_ = 0;
  bool has_trouble_ = false;
};

UdpClients::UdpClients(NodeContext& context, PeerDatagrams& datagrams, const ForwardSpec& spec,
                       UdpClientsOwner& owner)
    : context_(context),
      datagrams_(datagrams),
      spec_(spec),
      owner_(owner),
      idle_answered_(spec.port == 53 && spec.ports == 1 ? kIdleDns : kIdleAnswered) {}

UdpClients::~UdpClients() = default;

Result<Address> UdpClients::listen(const Address& at, std::uint16_t offset) {
  auto port = std::make_unique<Port>(*this, offset);
  auto datagrams = context_.platform.listen_datagrams(at, *port);
  if (!datagrams) return datagrams.error();
  port->datagrams = std::move(*datagrams);
  ports_.push_back(std::move(port));
  return ports_.back()->datagrams->local_address();
}

void UdpClients::close() {
  for (Clients* clients : {&waiting_, &unanswered_, &answered_}) {
    while (!clients->empty()) {
      clients->front().is_ended_here = true;
      clients->front().end();
    }
  }
  for (auto& port : ports_) {
    totals_.datagrams_dropped += port->datagrams->counters().dropped;
    closed_.push_back(std::move(port));
  }
  ports_.clear();
  owner_.on_udp_finished();
}

void UdpClients::on_datagrams(Port& port, const LocalEnds& from, const DatagramTrain& train,
                              TimePoint now) {
  context_.now = now;
  Client& client = client_of(port, from);
  for_each_datagram(train, [&client](ByteView datagram) { client.send(datagram); });
  context_.wake();
  if (client.list != &waiting_) return touch(client);
  std::string reason;
  PeerLink* peer = owner_.find_peer(reason);
  if (peer == nullptr) return owner_.on_udp_trouble(std::move(reason));
  if (peer->session() == nullptr) return peer->want(client.deadline);
  if (&waiting_.front() == &client) start_waiting(*peer);  // Else others are before it.
}

UdpClients::Client& UdpClients::client_of(Port& port, const LocalEnds& from) {
  const auto known = by_key_.find({from, port.offset});
  if (known != by_key_.end()) return *known->second;
  make_room();
  Client& client = waiting_.emplace_back(*this, port, from);
  client.list = &waiting_;
  client.place = std::prev(waiting_.end());
  by_key_.emplace(Key{from, port.offset}, &client);
  ++totals_.flows_total;
  return client;
}

/// The longest unused flow gives way, first of those that nobody ever answered.
void UdpClients::make_room() {
  if (waiting_.size() >= kWaitingMax) waiting_.front().give_up();
  if (waiting_.size() + flows() < kClientsMax) return;
  Client& client = !unanswered_.empty() ? unanswered_.front() : answered_.front();
  client.is_ended_here = true;
  client.end();
}

void UdpClients::start_waiting(PeerLink& peer) {
  while (!waiting_.empty() && peer.session() != nullptr) {
    // The others wait behind the first one, in order.
    if (!start_first(peer)) return owner_.on_udp_lacks_streams();
  }
}

/// False: there is no stream for it now.
bool UdpClients::start_first(PeerLink& peer) {
  forward::SealedFlows* flows = datagrams_.of(peer);
  if (flows == nullptr) return false;
  const auto stream = peer.session()->open_stream();
  if (!stream) return false;
  Client& client = waiting_.front();
  unanswered_.splice(unanswered_.end(), waiting_, client.place);
  client.list = &unanswered_;
  client.used_at = context_.now;
  client.start(peer, *stream, *flows);
  return true;
}

/// It was used now: it is the last to be given up.
void UdpClients::touch(Client& client) {
  if (client.list == &finished_) return;
  Clients& to = client.is_answered ? answered_ : unanswered_;
  client.used_at = context_.now;
  to.splice(to.end(), *client.list, client.place);
  client.list = &to;
}

void UdpClients::on_client_finished(Client& client) {
  if (client.list == &finished_) return;
  by_key_.erase({client.ends, client.offset});
  finished_.splice(finished_.end(), *client.list, client.place);
  client.list = &finished_;
  owner_.on_udp_finished();
}

void UdpClients::on_timeout() {
  end_idle(unanswered_, kIdleUnanswered);
  end_idle(answered_, idle_answered_);
  give_up_waiting();
}

void UdpClients::end_idle(Clients& clients, Duration idle) {
  while (!clients.empty() && context_.now - clients.front().used_at >= idle) {
    clients.front().is_ended_here = true;
    clients.front().end();
  }
}

void UdpClients::give_up_waiting() {
  while (!waiting_.empty() && context_.now >= waiting_.front().deadline) {
    std::string why;
    PeerLink* peer = owner_.find_peer(why);
    const bool has_session = peer != nullptr && peer->session() != nullptr;
    if (peer != nullptr) why = peer->reason();
    waiting_.front().is_failed = true;
    waiting_.front().give_up();
    owner_.on_udp_trouble(has_session
                              ? "peer " + spec_.peer + " takes no more flows at once"
                              : "peer " + spec_.peer + " was not reached within 30 s: " + why);
  }
}

std::optional<TimePoint> UdpClients::next_timeout() const {
  std::optional<TimePoint> next;
  if (!waiting_.empty()) next = waiting_.front().deadline;
  if (!unanswered_.empty()) next = earlier(next, unanswered_.front().used_at + kIdleUnanswered);
  if (!answered_.empty()) next = earlier(next, answered_.front().used_at + idle_answered_);
  return next;
}

void UdpClients::sweep() {
  closed_.clear();
  for (const Client& client : finished_) client.add_to(totals_);
  finished_.clear();
}

void UdpClients::add_to(ForwardStatus& status) const {
  ForwardStatus all = totals_;
  for (const Clients* clients : {&waiting_, &unanswered_, &answered_, &finished_}) {
    for (const Client& client : *clients) client.add_to(all);
  }
  for (const auto& port : ports_) all.datagrams_dropped += port->datagrams->counters().dropped;
  status.flows_now += waiting_.size() + flows();
  status.flows_total += all.flows_total;
  status.flows_failed += all.flows_failed;
  status.datagrams_sent += all.datagrams_sent;
  status.datagrams_received += all.datagrams_received;
  status.datagrams_dropped += all.datagrams_dropped;
  status.bytes_sent += all.bytes_sent;
  status.bytes_received += all.bytes_received;
}

}  // namespace openp2p::agent
