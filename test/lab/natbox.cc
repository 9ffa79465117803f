// A real box with the simulator's NAT and link: joins two network namespaces by TUN devices.
//
//   natbox --kind port-restricted --external 198.51.100.1 --inside wan --outside to-home
//          --outside-namespace /run/netns/core --delay-ms 25 --loss 0.01
//
// SIGUSR1 writes counters as JSON, SIGHUP is a reboot (every mapping is lost), SIGTERM and SIGINT
// end it; see natbox_control.h for how its line changes meanwhile. Per packet: one read, one write,
// and one copy when the link delays it; no allocation after the first packets but the NAT's new
// mappings.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "net/clock.h"
#include "sim/link.h"
#include "sim/world.h"
#include "test/lab/delayed_packets.h"
#include "test/lab/natbox_control.h"
#include "test/lab/natbox_options.h"
#include "test/lab/packet_translator.h"
#include "test/lab/pcp_listener.h"
#include "test/lab/tun_device.h"

namespace openp2p::lab {
namespace {

namespace json = boost::json;

/// Packets of one device a turn, so that the other one and the timer get theirs.
constexpr int kBatchMax = 64;

[[noreturn]] void fail(const std::string& what, std::error_code error) {
  throw std::system_error(error, what);
}
[[noreturn]] void fail(const std::string& what) { fail(what, {errno, std::system_category()}); }

/// A descriptor of one of the kernel's event sources.
class Descriptor {
 public:
  Descriptor(int descriptor, const char* what) : descriptor_(descriptor) {
    if (descriptor < 0) fail(what);
  }
  ~Descriptor() { ::close(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

sigset_t handled_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGUSR1, SIGHUP, SIGTERM, SIGINT}) ::sigaddset(&signals, number);
  return signals;
}

TunDevice open_device(const std::string& name) {
  auto device = TunDevice::open(name);
  if (!device) fail("TUN device " + name, device.error());
  return std::move(*device);
}

/// Opens the device in the namespace at `path`, where this thread then stays.
TunDevice open_device(const std::string& name, const std::string& path) {
  if (!path.empty()) {
    const Descriptor there(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "the outside namespace");
    if (::setns(there.get(), CLONE_NEWNET) != 0) fail("setns " + path);
  }
  return open_device(name);
}

std::vector<PcpListener> open_pcp(const std::vector<IpAddress>& addresses,
                                  PacketTranslator& translator) {
  std::vector<PcpListener> listeners;
  for (const IpAddress& ip : addresses) {
    auto opened = PcpListener::open(ip, translator.udp_table(ip.is_v4()),
                                    translator.tcp_table(ip.is_v4()), net::monotonic_now());
    if (!opened) fail("PCP on " + ip.text(), opened.error());
    listeners.push_back(std::move(*opened));
  }
  return listeners;
}

std::optional<NatboxControl> open_control(const std::string& path) {
  if (path.empty()) return std::nullopt;
  auto opened = NatboxControl::open(path);
  if (!opened) fail("control socket " + path, opened.error());
  return std::move(*opened);
}

class Natbox {
 public:
  explicit Natbox(const NatboxOptions& options);
  void run();  ///< Returns when a signal ends it.

 private:
  struct Direction {
    Direction(sim::World& world, const sim::LinkOptions& options) : link(world, options) {}
    sim::Link link;
    DelayedPackets packets;
  };

  void watch(int descriptor);
  void on_event(int descriptor, TimePoint now);
  void on_signals(TimePoint now);
  void on_control();
  void on_readable(TunDevice& device, Side side, TimePoint now);
  void on_inside_packet(MutableByteView packet, TimePoint now);
  void arrive_inside(MutableByteView packet, TimePoint now);
  void deliver_due(TimePoint now);
  bool fits(ByteView packet, Side sender);
  void enter(Direction& direction, ByteView packet);
  void write(TunDevice& device, ByteView packet);
  void report(ByteView packet, IcmpErrorKind kind, Side sender);
  std::optional<IpAddress> reporter(bool is_v4, Side sender) const;
  void arm();
  json::object counters(TimePoint now);
  void write_counters(TimePoint now);

  const NatboxOptions options_;
  sim::World world_;  // For its clock, its memory and its counters; no event is ever scheduled.
  PacketTranslator translator_;
  Direction up_;
  Direction down_;
  NatboxControl::Line line_;
  std::optional<NatboxControl> control_;
  std::vector<PcpListener> pcp_;  // Opened inside, as the next; the last one opened is outside.
  TunDevice inside_;
  TunDevice outside_;
  const sigset_t signals_;
  const Descriptor epoll_;
  const Descriptor timer_;
  const Descriptor signal_;
  std::array<std::byte, kIpPacketBytesMax> packet_{};
  std::array<std::byte, kIpPacketBytesMax> error_{};
  std::uint64_t refused_by_kernel_ = 0;
  std::uint64_t errors_sent_ = 0;
  std::uint64_t written_ = 0;
  bool is_running_ = true;
};

Natbox::Natbox(const NatboxOptions& options)
    : options_(options),
      world_(options.seed),
      translator_(options.translator, world_.random().fork()),
      up_(world_, options.link),
      down_(world_, options.link),
      line_{options.link},
      control_(open_control(options.control_file)),
      pcp_(open_pcp(options.pcp, translator_)),
      inside_(open_device(options.inside_device)),
      outside_(open_device(options.outside_device, options.outside_namespace)),
      signals_(handled_signals()),
      epoll_(::epoll_create1(EPOLL_CLOEXEC), "epoll"),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timer"),
      signal_(::signalfd(-1, &signals_, SFD_NONBLOCK | SFD_CLOEXEC), "signals") {
  if (::sigprocmask(SIG_BLOCK, &signals_, nullptr) != 0) fail("signals");
  for (const int descriptor :
       {inside_.descriptor(), outside_.descriptor(), timer_.get(), signal_.get()}) {
    watch(descriptor);
  }
  for (const PcpListener& pcp : pcp_) watch(pcp.descriptor());
  if (control_) watch(control_->descriptor());
}

void Natbox::watch(int descriptor) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = descriptor}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll");
}

void Natbox::run() {
  std::array<epoll_event, 8> events{};
  while (is_running_) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), /*timeout=*/-1);
    if (count < 0 && errno != EINTR) fail("epoll");
    const TimePoint now = net::monotonic_now();
    world_.run_until(now);
    deliver_due(now);  // Before what comes in now, which may be due at once.
    for (int i = 0; i < count; ++i) on_event(events[static_cast<std::size_t>(i)].data.fd, now);
    deliver_due(now);
    arm();
  }
  write_counters(net::monotonic_now());
}

void Natbox::on_event(int descriptor, TimePoint now) {
  if (descriptor == inside_.descriptor()) return on_readable(inside_, Side::kInside, now);
  if (descriptor == outside_.descriptor()) return on_readable(outside_, Side::kOutside, now);
  if (descriptor == signal_.get()) return on_signals(now);
  if (control_ && descriptor == control_->descriptor()) return on_control();
  const auto pcp = std::ranges::find(pcp_, descriptor, &PcpListener::descriptor);
  if (pcp != pcp_.end()) return pcp->on_readable(now);
  std::uint64_t expirations = 0;
  if (::read(timer_.get(), &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
}

void Natbox::on_signals(TimePoint now) {
  signalfd_siginfo info{};
  while (::read(signal_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    switch (info.ssi_signo) {
      case SIGUSR1:
        write_counters(now);
        break;
      case SIGHUP:
        translator_.reset();
        for (PcpListener& pcp : pcp_) pcp.restart(now);
        break;
      default:  // Not an enum: SIGTERM or SIGINT.
        is_running_ = false;
    }
  }
}

void Natbox::on_control() {
  if (!control_->on_readable(line_)) return;
  for (Direction* direction : {&up_, &down_}) {
    direction->link.set_options(line_.link);
    direction->link.set_blackhole(line_.is_black_hole);
  }
}

void Natbox::on_readable(TunDevice& device, Side side, TimePoint now) {
  for (int i = 0; i < kBatchMax; ++i) {
    const auto size = device.read(packet_);
    if (!size) fail("TUN device", size.error());
    if (*size == 0) return;
    const MutableByteView packet = std::span(packet_).first(*size);
    if (!fits(packet, side)) continue;
    if (side == Side::kInside) {
      on_inside_packet(packet, now);
    } else {
      enter(down_, packet);  // The NAT is at the home's end of the line.
    }
  }
}

// The line's MTU, told in terms of the packet as its sender knows it: before any translation.
bool Natbox::fits(ByteView packet, Side sender) {
  const sim::LinkOptions& link = options_.link;
  if (packet.size() <= link.mtu) return true;
  ++world_.counters().drops(sim::DropReason::kTooBig);
  if (!link.is_mtu_silent) report(packet, IcmpErrorKind::kTooBig, sender);
  return false;
}

void Natbox::on_inside_packet(MutableByteView packet, TimePoint now) {
  const Translation result = translator_.translate(packet, Side::kInside, now);
  if (result.dropped) {
    if (result.report) report(packet, *result.report, Side::kInside);
  } else if (result.to == Side::kInside) {
    write(inside_, packet.first(result.bytes));
  } else {
    enter(up_, packet.first(result.bytes));
  }
}

void Natbox::arrive_inside(MutableByteView packet, TimePoint now) {
  const Translation result = translator_.translate(packet, Side::kOutside, now);
  if (result.dropped) {
    if (result.report) report(packet, *result.report, Side::kOutside);
  } else {
    write(inside_, packet.first(result.bytes));
  }
}

void Natbox::deliver_due(TimePoint now) {
  while (const auto packet = up_.packets.pop_due(now)) write(outside_, packet->view());
  while (const auto packet = down_.packets.pop_due(now)) {
    const MutableByteView copy = std::span(packet_).first(packet->size());
    std::ranges::copy(packet->view(), copy.begin());
    arrive_inside(copy, now);
  }
}

void Natbox::enter(Direction& direction, ByteView packet) {
  const sim::Passage passage = direction.link.admit(packet.size());
  for (const TimePoint at : std::span(passage.arrivals).first(passage.copies)) {
    if (direction.packets.push(at, world_.buffers().copy(packet))) continue;
    ++world_.counters().drops(sim::DropReason::kQueueFull);
  }
}

void Natbox::write(TunDevice& device, ByteView packet) {
  if (!device.write(packet)) ++refused_by_kernel_;
}

void Natbox::report(ByteView packet, IcmpErrorKind kind, Side sender) {
  const auto source = reporter(read_packet(packet).is_v4, sender);
  if (!source) return;
  const auto mtu = static_cast<std::uint16_t>(options_.link.mtu);
  const std::size_t size = make_icmp_error(packet, kind, *source, mtu, error_);
  if (size == 0) return;
  ++errors_sent_;
  const ByteView error = std::span(error_).first(size);
  if (sender == Side::kInside) {
    write(inside_, error);
  } else {
    enter(up_, error);
  }
}

std::optional<IpAddress> Natbox::reporter(bool is_v4, Side sender) const {
  const auto& external = options_.translator.external_addresses;
  if (is_v4 && sender == Side::kOutside && !external.empty()) return external.front();
  const auto found = std::ranges::find(options_.reporters, is_v4, &IpAddress::is_v4);
  return found == options_.reporters.end() ? std::nullopt : std::optional(*found);
}

void Natbox::arm() {
  const auto next = earlier(up_.packets.next_at(), down_.packets.next_at());
  const auto since = next ? next->time_since_epoch() : Duration::zero();  // Zero disarms.
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = (since - seconds).count();
  if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) fail("timer");
}

json::object table_counters(const PacketTranslator::TableSizes& sizes) {
  return {{"mappings", sizes.mappings},
          {"flows", sizes.flows},
          {"mappings_peak", sizes.mappings_peak},
          {"flows_peak", sizes.flows_peak}};
}

json::object Natbox::counters(TimePoint now) {
  const auto udp = translator_.udp_sizes(now), tcp = translator_.tcp_sizes(now),
             echo = translator_.echo_sizes(now);
  json::object dropped;
  for (std::size_t i = 0; i < kPacketDrops; ++i) {
    const auto drop = static_cast<PacketDrop>(i);
    dropped[packet_drop_text(drop)] = translator_.drops(drop);
  }
  for (const auto reason :
       {sim::DropReason::kLoss, sim::DropReason::kQueueFull, sim::DropReason::kTooBig}) {
    dropped[sim::drop_reason_text(reason)] = world_.counters().drops(reason);
  }
  dropped["refused by the kernel"] = refused_by_kernel_;
  PacketTranslator::TableSizes all = udp;
  all += tcp;
  all += echo;
  json::object result = table_counters(all);  // The peaks' sum is never below the sum's peak.
  result["written"] = ++written_;
  result["udp"] = table_counters(udp);
  result["tcp"] = table_counters(tcp);
  result["echo"] = table_counters(echo);
  result["forwarded"] = {{"from_inside", translator_.forwarded(Side::kInside)},
                         {"from_outside", translator_.forwarded(Side::kOutside)}};
  result["errors_sent"] = errors_sent_;
  result["dropped"] = std::move(dropped);
  return result;
}

void Natbox::write_counters(TimePoint now) {
  if (options_.counters_file.empty()) return;
  // Renamed when complete, so that a reader never sees half of it.
  const std::string partial = options_.counters_file + ".partial";
  std::ofstream out(partial);
  out << json::serialize(counters(now)) << '\n';
  out.close();
  if (!out || std::rename(partial.c_str(), options_.counters_file.c_str()) != 0) {
    fail(options_.counters_file);
  }
}

}  // namespace
}  // namespace openp2p::lab

int main(int argc, char** argv) {
  try {
    openp2p::lab::Natbox box(openp2p::lab::parse_natbox_options(argc, argv));
    std::puts("ready");
    std::fflush(stdout);
    box.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "natbox: %s\n", error.what());
    return 1;
  }
  return 0;
}
