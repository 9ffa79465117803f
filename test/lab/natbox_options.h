#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "sim/link.h"
#include "test/lab/packet_translator.h"

namespace openp2p::lab {

struct NatboxOptions {
  std::string inside_device;
  std::string outside_device;
  std::string outside_namespace;     ///< A path that names the network namespace; "": the same.
  std::string counters_file;         ///< Written on SIGUSR1 and at the end; "": never.
  std::string control_file;          ///< A socket made there, see natbox_control.h; "": none.
  std::vector<IpAddress> reporters;  ///< Sources of ICMP errors to the inside, one a family.
  std::vector<IpAddress> pcp;        ///< The router's addresses inside that serve PCP.
  TranslatorOptions translator;
  sim::LinkOptions link;  ///< Of each direction.
  std::uint64_t seed = 1;
};

/// Reads the command line. Bad words and --help end the process, as command lines do.
NatboxOptions parse_natbox_options(int argc, char** argv);

}  // namespace openp2p::lab
