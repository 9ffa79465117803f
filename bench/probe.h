#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/core.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

#include "bench/words.h"

/// What the probes share. They use plain system calls, so that what is measured lies between the
/// ends. Failures end the program: a benchmark has nobody to recover for.
namespace openp2p::bench {

/// With what errno says.
[[noreturn]] inline void die(std::string_view what) {
  fmt::print(stderr, "{}: {}: {}\n", program_invocation_short_name, what,
             std::error_code(errno, std::system_category()).message());
  std::exit(1);
}

/// A number argument; anything else is a wrong command line.
template <class Number>
Number number(std::string_view word) {
  const auto value = positive<Number>(word);
  if (value) return *value;
  errno = EINVAL;
  die(word);
}

/// Of IPv4, HOST:PORT.
inline ::sockaddr_in address_of(std::string_view word) {
  const auto colon = word.rfind(':');
  ::sockaddr_in address{};
  address.sin_family = AF_INET;
  const std::string host(word.substr(0, colon));
  if (colon == word.npos || ::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    errno = EINVAL;
    die(word);
  }
  address.sin_port = htons(number<std::uint16_t>(word.substr(colon + 1)));
  return address;
}

/// Every own address.
inline ::sockaddr_in any_address(std::uint16_t port) {
  ::sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  return any;
}

}  // namespace openp2p::bench
