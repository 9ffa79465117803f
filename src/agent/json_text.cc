#include "agent/json_text.h"

#include <algorithm>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>

#include "base/ids.h"

namespace openp2p::agent {
namespace json = boost::json;

namespace {

constexpr std::size_t kTextBytesMax = 4'096;  // No reason or name of ours comes near; more is cut.

JsonFailure failure_at(std::string_view text, std::size_t offset, std::string why) {
  const std::string_view before = text.substr(0, offset);
  const auto newline = before.rfind('\n');
  JsonFailure failure;
  failure.line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  failure.column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  failure.text = std::move(why);
  return failure;
}

void put_pretty(std::string& out, const json::value& value, std::size_t indent);

template <class Container, class PutItem>
void put_items(std::string& out, const Container& items, char open, char close, std::size_t indent,
               PutItem put_item) {
  out += open;
  bool is_first = true;
  for (const auto& item : items) {
    out += is_first ? "\n" : ",\n";
    is_first = false;
    out.append(indent + 2, ' ');
    put_item(item);
  }
  if (!is_first) {
    out += '\n';
    out.append(indent, ' ');
  }
  out += close;
}

void put_pretty(std::string& out, const json::value& value, std::size_t indent) {
  if (const auto* object = value.if_object()) {
    put_items(out, *object, '{', '}', indent, [&](const json::key_value_pair& pair) {
      out += json::serialize(json::string_view(pair.key()));
      out += ": ";
      put_pretty(out, pair.value(), indent + 2);
    });
  } else if (const auto* array = value.if_array()) {
    put_items(out, *array, '[', ']', indent,
              [&](const json::value& item) { put_pretty(out, item, indent + 2); });
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

JsonParsed parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kJsonDepthMax;
  json::parser parser({}, options);
  json::error_code error;
  const std::size_t read = parser.write_some(text.data(), text.size(), error);
  if (error) return {std::nullopt, failure_at(text, read, error.message())};
  const auto rest = text.find_first_not_of(" \t\r\n", read);
  if (rest != std::string_view::npos) {
    return {std::nullopt, failure_at(text, rest, "something follows the end of the document")};
  }
  return {parser.release(), {}};
}

std::optional<std::string> json_text(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(value->get_string());
}

std::optional<bool> json_bool(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  if (value == nullptr || !value->is_bool()) return std::nullopt;
  return value->get_bool();
}

std::optional<std::uint64_t> json_number(const json::object& from, std::string_view name,
                                         std::uint64_t max) {
  const json::value* value = from.if_contains(name);
  if (value == nullptr) return std::nullopt;
  std::uint64_t number = 0;
  if (value->is_uint64()) {
    number = value->get_uint64();
  } else if (value->is_int64() && value->get_int64() >= 0) {
    number = static_cast<std::uint64_t>(value->get_int64());
  } else {
    return std::nullopt;
  }
  return number <= max ? std::optional(number) : std::nullopt;
}

json::string json_safe(std::string_view text) {
  return json::string(printable(text, kTextBytesMax));
}

std::string pretty(const json::value& value) {
  std::string out;
  put_pretty(out, value, 0);
  out += '\n';
  return out;
}

}  // namespace openp2p::agent
