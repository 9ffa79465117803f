#pragma once

#include <string>

#include "base/result.h"
#include "sim/link.h"

namespace openp2p::lab {

/// Changes a running natbox's line: a Unix datagram socket that takes one JSON object a datagram,
/// `{"loss": 0.1, "delay_ms": 20, "black_hole": true}`, each member as wanted, and answers "ok" or
/// what was wrong once it is done. Whoever may write to the file may change the line.
class NatboxControl {
 public:
  struct Line {
    sim::LinkOptions link;
    bool is_black_hole = false;
  };

  static Result<NatboxControl> open(const std::string& path);
  NatboxControl(NatboxControl&& other) noexcept;
  NatboxControl& operator=(NatboxControl&&) = delete;
  ~NatboxControl();

  int descriptor() const { return descriptor_; }
  /// Takes what has come. True: `line` is another one now.
  bool on_readable(Line& line);

 private:
  explicit NatboxControl(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;
};

}  // namespace openp2p::lab
