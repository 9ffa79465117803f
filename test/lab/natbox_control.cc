#include "test/lab/natbox_control.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace openp2p::lab {
namespace {

namespace json = boost::json;

constexpr std::size_t kCommandBytesMax = 1'024;
constexpr double kDelayMillisecondsMax = 60'000;

std::error_code last_error() { return {errno, std::system_category()}; }

std::optional<double> number_of(const json::value& value, double max) {
  boost::json::error_code error;
  const double number = value.to_number<double>(error);
  if (error || !(number >= 0 && number <= max)) return std::nullopt;
  return number;
}

/// "": the member is in `line` now.
std::string apply_member(std::string_view name, const json::value& value,
                         NatboxControl::Line& line) {
  if (name == "black_hole" && value.is_bool()) {
    line.is_black_hole = value.get_bool();
  } else if (const auto loss = name == "loss" ? number_of(value, 1) : std::nullopt) {
    line.link.loss = *loss;
  } else if (const auto ms =
                 name == "delay_ms" ? number_of(value, kDelayMillisecondsMax) : std::nullopt) {
    line.link.delay = Duration(std::llround(*ms * 1e6));
  } else {
    return "no such member, or not with this value: " + std::string(name);
  }
  return {};
}

/// "ok", or why nothing is changed.
std::string apply(std::string_view command, NatboxControl::Line& line) {
  boost::json::error_code error;
  const json::value parsed = json::parse(command, error);
  if (error || !parsed.is_object()) return "this is no JSON object";
  NatboxControl::Line changed = line;
  for (const auto& [name, value] : parsed.get_object()) {
    std::string complaint = apply_member(name, value, changed);
    if (!complaint.empty()) return complaint;
  }
  line = changed;
  return "ok";
}

}  // namespace

Result<NatboxControl> NatboxControl::open(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) {
    return std::make_error_code(std::errc::filename_too_long);
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return last_error();
  NatboxControl control(descriptor);
  ::unlink(path.c_str());  // Of one that ran before.
  if (::bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return last_error();
  }
  return control;
}

NatboxControl::NatboxControl(NatboxControl&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

NatboxControl::~NatboxControl() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool NatboxControl::on_readable(Line& line) {
  std::array<char, kCommandBytesMax> command;
  sockaddr_un from{};
  socklen_t from_size = sizeof from;
  auto* sender = reinterpret_cast<sockaddr*>(&from);
  const ssize_t size =
      ::recvfrom(descriptor_, command.data(), command.size(), 0, sender, &from_size);
  if (size < 0) return false;
  const std::string answer = apply({command.data(), static_cast<std::size_t>(size)}, line);
  // Who has no name of its own, or does not wait, is not told.
  (void)::sendto(descriptor_, answer.data(), answer.size(), 0, sender, from_size);
  return answer == "ok";
}

}  // namespace openp2p::lab
