#include "cli/secret_arguments.h"

#include <cstring>
#include <string_view>

namespace openp2p::cli {
namespace {

void overwrite(char* text) { std::memset(text, 'x', std::strlen(text)); }

bool is_token_flag(std::string_view text) { return text == "--token" || text == "-token"; }

}  // namespace

std::vector<std::string> take_arguments(int count, char** arguments) {
  std::vector<std::string> copies(arguments, arguments + count);
  for (int i = 1; i < count; ++i) {
    const std::string_view text = copies[static_cast<std::size_t>(i)];
    const auto equals = text.find('=');
    if (is_token_flag(text) && i + 1 < count) {
      overwrite(arguments[i + 1]);
    } else if (equals != std::string_view::npos && is_token_flag(text.substr(0, equals))) {
      overwrite(arguments[i] + equals + 1);
    }
  }
  return copies;
}

}  // namespace openp2p::cli
