#include "path/method.h"

#include <array>

namespace openp2p::path {
namespace {

constexpr std::array<std::string_view, kMethods> kTexts = {
    "direct",     "mapped",           "punch",  "predict-one", "birthday", "predict-both",
    "tcp-direct", "tcp-simultaneous", "relayed"};

}  // namespace

std::string_view method_text(Method method) { return kTexts[static_cast<std::size_t>(method)]; }

std::optional<Method> parse_method(std::string_view text) {
  for (std::size_t i = 0; i < kTexts.size(); ++i) {
    if (kTexts[i] == text) return static_cast<Method>(i);
  }
  return std::nullopt;
}

std::vector<std::string> method_texts(MethodSet methods) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kTexts.size(); ++i) {
    if (methods.has(static_cast<Method>(i))) texts.emplace_back(kTexts[i]);
  }
  return texts;
}

}  // namespace openp2p::path
