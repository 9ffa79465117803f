#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "base/check.h"

namespace openp2p {

/// A folder of a test's own, gone with the test. In memory where the system has such a place: what
/// is tested is the order of writes, and not how long this machine's disk takes for them.
class TestFolder {
 public:
  TestFolder() {
    std::string form = "/dev/shm/openp2p-test-XXXXXX";
    if (::mkdtemp(form.data()) == nullptr) {
      form = (std::filesystem::temp_directory_path() / "openp2p-test-XXXXXX").string();
      CHECK(::mkdtemp(form.data()) != nullptr);
    }
    path_ = form;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace openp2p
