#include "agent/port_mapper.h"

#include <algorithm>
#include <utility>

namespace openp2p::agent {

PortMapper::PortMapper(NodeContext& context, std::function<void()> on_changed, Duration lease)
    : context_(context), on_changed_(std::move(on_changed)), lease_(lease) {}

void PortMapper::start(const Ports& ports) {
  ports_ = ports;
  is_started_ = true;
  on_network_changed();
}

void PortMapper::on_network_changed() {
  if (!is_started_ || stop_by_) return;
  const std::vector<net::Gateway> found = context_.platform.gateways();
  const auto is_gone = [&](const auto& mapper) {
    return std::ranges::find(found, mapper->gateway()) == found.end();
  };
  // Those that are gone cannot be told anything; their leases end.
  bool was_mapped = false;
  for (const auto& mapper : gateways_) was_mapped |= is_gone(mapper) && !mapper->mapped().empty();
  std::erase_if(gateways_, is_gone);
  for (const auto& mapper : gateways_) mapper->refresh();
  for (const net::Gateway& gateway : found) {
    if (gateways_.size() < net::kGatewaysMax) meet(gateway);
  }
  if (was_mapped) on_changed_();
}

void PortMapper::meet(const net::Gateway& gateway) {
  const auto is_known = [&](const auto& mapper) { return mapper->gateway() == gateway; };
  if (std::ranges::any_of(gateways_, is_known)) return;
  std::vector<MappedPort> wanted;
  const std::uint16_t udp = gateway.local.is_v4() ? ports_.udp_v4 : ports_.udp_v6;
  if (udp != 0) wanted.push_back({path::Transport::kUdp, udp});
  if (ports_.tcp != 0) wanted.push_back({path::Transport::kTcp, ports_.tcp});
  if (wanted.empty()) return;
  auto mapper = std::make_unique<GatewayMapper>(context_, gateway, std::move(wanted), lease_,
                                                [this] { on_changed_(); });
  gateways_.push_back(std::move(mapper));
  gateways_.back()->start();
}

void PortMapper::stop() {
  if (stop_by_) return;
  stop_by_ = context_.now + kStopMax;
  for (const auto& mapper : gateways_) mapper->remove();
}

bool PortMapper::is_stopped() const {
  if (!is_started_) return true;
  if (!stop_by_) return false;
  return context_.now >= *stop_by_ ||
         std::ranges::all_of(gateways_, [](const auto& mapper) { return mapper->is_removed(); });
}

void PortMapper::on_timeout() {
  for (const auto& mapper : gateways_) mapper->on_timeout();
}

std::optional<TimePoint> PortMapper::next_timeout() const {
  if (stop_by_ && is_stopped()) return std::nullopt;
  std::optional<TimePoint> next = stop_by_;
  for (const auto& mapper : gateways_) next = earlier(next, mapper->next_timeout());
  return next;
}

std::vector<Mapped> PortMapper::all_mapped() const {
  std::vector<Mapped> all;
  for (const auto& mapper : gateways_) {
    for (Mapped& mapping : mapper->mapped()) all.push_back(std::move(mapping));
  }
  return all;
}

std::vector<Mapped> PortMapper::mapped() const {
  std::vector<Mapped> all = all_mapped();
  std::erase_if(all, [](const Mapped& mapping) { return !mapping.is_public(); });
  return all;
}

std::vector<std::string> PortMapper::evidence() const {
  std::vector<std::string> lines;
  if (is_started_ && gateways_.empty()) lines.emplace_back("this machine has no gateway to ask");
  for (const auto& mapper : gateways_) {
    const std::string about =
        gateways_.size() == 1 ? "" : "gateway " + mapper->gateway().ip.text() + ": ";
    for (const std::string& line : mapper->evidence()) lines.push_back(about + line);
  }
  return lines;
}

bool PortMapper::is_settled() const {
  return std::ranges::all_of(gateways_, [](const auto& mapper) { return mapper->is_settled(); });
}

}  // namespace openp2p::agent
