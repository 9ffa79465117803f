#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/strong.h"
#include "nat/stun_message.h"

namespace openp2p::path {

/// Names one PathFinder in the datagrams of its owner: the first 32 bits of the transaction ids of
/// its own checks, and, as 8 hex digits, its username fragment (RFC 8445 section 5.3).
using FinderTag = Strong<struct FinderTagTag, std::uint32_t>;

std::string tag_text(FinderTag tag);  ///< 8 hex digits.
/// USERNAME of a check (RFC 8445 section 7.2.2): "<receiver's tag>:<sender's tag>".
std::string check_username(FinderTag receiver, FinderTag sender);
/// To whom a request is addressed; nullopt where the username is not of that form.
std::optional<FinderTag> addressee(const nat::StunMessage& request);
/// Who sent the request that has this transaction id, if one of ours did.
FinderTag asker(const nat::TransactionId& transaction);

}  // namespace openp2p::path
