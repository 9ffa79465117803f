#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// JSON from files and requests: bounded, and with the place of an error, which Boost.JSON's
/// parse() does not tell.
namespace openp2p::agent {

/// The deepest nesting read: our own documents have 4 levels; more is refused before it costs
/// stack.
inline constexpr std::size_t kJsonDepthMax = 16;

struct JsonFailure {
  std::size_t line = 1;    ///< From 1.
  std::size_t column = 1;  ///< From 1, in bytes.
  std::string text;
};

struct JsonParsed {
  std::optional<boost::json::value> value;  ///< nullopt: see failure.
  JsonFailure failure;
};

/// `text` of any content; the caller bounds its size. Duplicate keys: the last one counts.
JsonParsed parse_json(std::string_view text);

/// Fields of an object, or nullopt where absent or of another type.
std::optional<std::string> json_text(const boost::json::object& from, std::string_view name);
std::optional<bool> json_bool(const boost::json::object& from, std::string_view name);
/// A whole number from 0 to `max`.
std::optional<std::uint64_t> json_number(const boost::json::object& from, std::string_view name,
                                         std::uint64_t max);

/// `text` as it may stand in JSON that people see in terminals: control characters become '?', and
/// what is not UTF-8 too.
boost::json::string json_safe(std::string_view text);

/// Two spaces of indentation: for files that people read.
std::string pretty(const boost::json::value& value);

}  // namespace openp2p::agent
