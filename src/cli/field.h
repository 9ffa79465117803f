#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/json_text.h"
#include "base/time.h"

/// Fields of the agent's answers, forgiving: what an older or newer agent does not send is empty.
namespace openp2p::cli {

inline std::string text_of(const boost::json::object& from, std::string_view name) {
  return agent::json_text(from, name).value_or("");
}
inline std::uint64_t number_of(const boost::json::object& from, std::string_view name) {
  return agent::json_number(from, name, ~std::uint64_t{0}).value_or(0);
}
inline bool flag_of(const boost::json::object& from, std::string_view name) {
  return agent::json_bool(from, name).value_or(false);
}
inline std::optional<Duration> duration_of(const boost::json::object& from, std::string_view name) {
  constexpr std::uint64_t kUsMax = 1'000'000ULL * 86'400 * 36'500;  // A century fits a Duration.
  const auto us = agent::json_number(from, name, kUsMax);
  return us ? std::optional<Duration>(std::chrono::microseconds(*us)) : std::nullopt;
}
inline boost::json::object object_of(const boost::json::object& from, std::string_view name) {
  const boost::json::value* value = from.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : boost::json::object();
}
inline std::vector<boost::json::object> objects_of(const boost::json::object& from,
                                                   std::string_view name) {
  std::vector<boost::json::object> objects;
  const boost::json::value* value = from.if_contains(name);
  if (value == nullptr || !value->is_array()) return objects;
  for (const auto& item : value->get_array()) {
    if (item.is_object()) objects.push_back(item.get_object());
  }
  return objects;
}
inline std::vector<std::string> texts_of(const boost::json::object& from, std::string_view name) {
  std::vector<std::string> texts;
  const boost::json::value* value = from.if_contains(name);
  if (value == nullptr || !value->is_array()) return texts;
  for (const auto& item : value->get_array()) {
    if (item.is_string()) texts.emplace_back(item.get_string());
  }
  return texts;
}

}  // namespace openp2p::cli
