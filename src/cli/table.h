#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

/// Texts for people in terminals.
namespace openp2p::cli {

/// Rows of cells, each column as wide as its widest cell. Cells are made safe to show; width counts
/// what a terminal shows, not bytes.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { add(std::move(head)); }
  void add(std::vector<std::string> row);
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// How many columns of a terminal `text` takes: combining characters none, East Asian wide ones
/// two.
std::size_t display_width(std::string_view text);

std::string bytes_text(std::uint64_t bytes);   ///< "512 B", "1.5 MiB"
std::string rtt_text(Duration rtt);            ///< "0.42 ms", "12.3 ms"
std::string duration_text(Duration duration);  ///< "45 s", "2 h 3 min", "5 d 1 h"

void print(std::string_view text);        ///< To stdout, as it is.
void print_error(std::string_view text);  ///< "openp2p: TEXT" to stderr, made safe to show.

}  // namespace openp2p::cli
