#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/time.h"

/// What `openp2p-server` does, once its command line is read. Each gives the exit code.
namespace openp2p::cli {

constexpr std::uint64_t kBitsPerMbit = 1'000'000;

struct ServerRunOptions {
  std::filesystem::path data;
  std::vector<std::string> listens;
  std::vector<std::string> also_tcp;
  std::uint16_t stun_port = 0;
  std::vector<std::string> public_addresses;
  std::uint64_t relay_bits_per_second = 0;
  std::uint64_t relay_allowance_bytes = 0;
  LogLevel log_level = LogLevel::kInfo;
};
int run_server(const ServerRunOptions& options);

struct ServerCommand {
  std::filesystem::path data;
  bool is_json = false;
};
int add_user(const ServerCommand& command, const std::string& email, bool reads_password);
int list_users(const ServerCommand& command);

struct NewTokenOptions {
  std::string email;
  bool is_reusable = false;
  std::optional<Duration> lifetime;  ///< nullopt: never expires.
  std::vector<std::string> addresses;
};
int new_token(const ServerCommand& command, const NewTokenOptions& options);

int list_nodes(const ServerCommand& command, const std::optional<std::string>& email);
int remove_node(const ServerCommand& command, const std::string& name_or_id,
                const std::optional<std::string>& email);

int print_server_completion(const std::string& shell);

/// "openp2p-server: TEXT" to stderr, made safe to show.
void print_server_error(const std::string& text);

}  // namespace openp2p::cli
