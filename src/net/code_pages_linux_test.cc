#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "net/code_pages.h"

namespace openp2p::net {
namespace {

std::size_t resident_file_kib() {
  std::ifstream status("/proc/self/status");
  std::string name;
  std::size_t kib = 0;
  while (status >> name) {
    if (name == "RssFile:" && status >> kib) return kib;
    std::getline(status, name);
  }
  return 0;
}

TEST(CodePages, LeaveResidentMemoryAndComeBack) {
  const std::size_t before = resident_file_kib();
  ASSERT_GT(before, 0U);

  unmap_idle_code();

  // Already the next call maps some again, and runs.
  EXPECT_LT(resident_file_kib(), before / 2);
}

}  // namespace
}  // namespace openp2p::net
