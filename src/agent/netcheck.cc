#include "agent/netcheck.h"

#include <algorithm>
#include <array>
#include <utility>

namespace openp2p::agent {
namespace {

constexpr std::size_t kDatagramBytesMax = 1'280;

std::vector<Address> own_addresses(const Platform& platform, const Address& bound) {
  std::vector<Address> own;
  for (const IpAddress& ip : platform.local_addresses()) {
    if (ip.is_v4() == bound.ip.is_v4()) own.push_back({ip, bound.port});
  }
  return own;
}

}  // namespace

Netcheck::Netcheck(NodeContext& context, std::vector<std::string> stun_servers,
                   std::optional<Duration> server_rtt, Done done)
    : context_(context), stun_servers_(std::move(stun_servers)), done_(std::move(done)) {
  report_.server_rtt = server_rtt;
}

Netcheck::~Netcheck() = default;

void Netcheck::start() {
  if (stun_servers_.empty()) {
    report_.error = "this node was not connected to its server yet, so it knows no STUN service";
    return finish();
  }
  resolve_next();
}

void Netcheck::resolve_next() {
  lookup_.reset();
  if (resolving_ == stun_servers_.size()) return begin();
  const std::string& name = stun_servers_[resolving_++];
  if (const auto address = Address::parse(name)) {
    servers_.push_back(*address);
    return resolve_next();
  }
  lookup_ = context_.platform.resolve(name, [this](std::vector<Address> found, TimePoint now) {
    context_.now = now;
    servers_.insert(servers_.end(), found.begin(), found.end());
    resolve_next();
    context_.wake();
  });
}

void Netcheck::begin() {
  begin_family(/*is_v4=*/true);
  begin_family(/*is_v4=*/false);
  if (probes_.empty()) {
    report_.error = "no STUN service could be found under the server's names";
    return finish();
  }
  pump();
}

void Netcheck::begin_family(bool is_v4) {
  const auto is_family = [&](const Address& a) { return a.ip.is_v4() == is_v4; };
  const auto server = std::ranges::find_if(servers_, is_family);
  if (server == servers_.end()) return;
  auto probe = std::make_unique<Probe>();
  probe->is_v4 = is_v4;
  auto socket = context_.platform.open_datagrams(
      is_v4, [this, here = probe.get()](const Address& from, ByteView datagram, TimePoint now) {
        context_.now = now;
        if (!here->discovery->on_datagram(from, datagram, now)) return;
        pump();
        context_.wake();
      });
  if (!socket) return;  // This machine has no addresses of the family.
  probe->socket = std::move(*socket);
  const auto other = std::find_if(server + 1, servers_.end(), [&](const Address& a) {
    return a.ip == server->ip && a.port != server->port;
  });
  nat::BehaviourDiscoveryConfig config;
  config.tag = context_.endpoint->new_tag().value();
  config.server = *server;
  if (other != servers_.end()) config.alternate_port = other->port;
  config.local_addresses = own_addresses(context_.platform, probe->socket->local());
  probe->discovery.emplace(config, context_.secrets, context_.now);
  probes_.push_back(std::move(probe));
}

void Netcheck::on_timeout() {
  for (auto& probe : probes_) probe->discovery->on_timeout(context_.now);
  if (!probes_.empty()) pump();
}

std::optional<TimePoint> Netcheck::next_timeout() const {
  std::optional<TimePoint> next;
  if (is_done_) return next;
  for (const auto& probe : probes_) next = earlier(next, probe->discovery->next_timeout());
  return next;
}

void Netcheck::pump() {
  std::array<std::byte, kDatagramBytesMax> out;
  for (auto& probe : probes_) {
    Address to;
    while (const std::size_t size = probe->discovery->poll_datagram(to, out, context_.now)) {
      probe->socket->send(to, ByteView(out).first(size));
    }
  }
  const auto is_probe_done = [](const auto& probe) { return probe->discovery->is_done(); };
  if (!is_done_ && std::ranges::all_of(probes_, is_probe_done)) finish();
}

void Netcheck::finish() {
  is_done_ = true;
  for (const auto& probe : probes_) {
    const nat::BehaviourReport& found = probe->discovery->report();
    const bool is_open = !found.is_udp_blocked();
    (probe->is_v4 ? report_.udp_v4 : report_.udp_v6) = is_open;
    (probe->is_v4 ? report_.reflexive_v4 : report_.reflexive_v6) = found.reflexive;
    const std::string family = probe->is_v4 ? "IPv4: " : "IPv6: ";
    for (const std::string& line : found.evidence) report_.evidence.push_back(family + line);
    const bool is_better = probe->is_v4 || report_.nat.empty();  // IPv4 is where the NATs are.
    if (!is_open || !is_better) continue;
    report_.mapping = nat::dependence_text(found.mapping);
    report_.filtering = nat::dependence_text(found.filtering);
    report_.nat = nat::classic_name(found);
    report_.hairpin = found.hairpins;
    if (found.ports != nat::PortAllocation::kUnknown) {
      report_.preserves_port = found.ports == nat::PortAllocation::kPreserved;
    }
  }
  done_(report_);
}

}  // namespace openp2p::agent
