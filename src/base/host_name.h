#pragma once

#include <string_view>

namespace openp2p {

/// A host name of RFC 1123 (underscores allowed, since real networks have them) or a numeric
/// address without brackets: the one rule for what people write, tokens name, peers ask for and
/// the state file keeps, so that nothing is taken at one place that another cannot read.
bool is_valid_host(std::string_view host);

}  // namespace openp2p
