#include "path/finder_tag.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

TEST(FinderTag, UsernameNamesTheReceiverFirst) {
  EXPECT_EQ(check_username(FinderTag{0xa}, FinderTag{0xffffffff}), "0000000a:ffffffff");

  nat::StunMessage request;
  request.set_username("0000000a:ffffffff");
  EXPECT_EQ(addressee(request), FinderTag{0xa});
}

TEST(FinderTag, ForeignUsernamesAreAddressedToNobody) {
  for (const char* text : {"", ":", "0000000a", "0000000a:", "0000000a:fffffff",
                           "0000000g:ffffffff", "0000000a;ffffffff", "0000000a:ffffffff0"}) {
    nat::StunMessage request;
    request.set_username(text);
    EXPECT_FALSE(addressee(request)) << text;
  }
}

TEST(FinderTag, TransactionStartsWithTheAsker) {
  nat::TransactionId id;
  id.bytes[0] = std::byte{0x12};
  id.bytes[3] = std::byte{0x34};
  EXPECT_EQ(asker(id), FinderTag{0x12000034});
}

}  // namespace
}  // namespace openp2p::path
