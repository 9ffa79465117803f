#include "base/bytes.h"

#include <gtest/gtest.h>

#include <array>

namespace openp2p {
namespace {

TEST(Bytes, HexRoundTrips) {
  std::array<std::byte, 3> out{};
  EXPECT_TRUE(from_hex("00fFa1", out));
  EXPECT_EQ(to_hex(out), "00ffa1");
  EXPECT_FALSE(from_hex("00ff", out));
  EXPECT_FALSE(from_hex("00ffxx", out));
}

// RFC 4648 section 10, without padding.
TEST(Bytes, Base64UrlMatchesRfc4648) {
  const std::array<std::array<const char*, 2>, 7> cases = {{{"", ""},
                                                            {"f", "Zg"},
                                                            {"fo", "Zm8"},
                                                            {"foo", "Zm9v"},
                                                            {"foob", "Zm9vYg"},
                                                            {"fooba", "Zm9vYmE"},
                                                            {"foobar", "Zm9vYmFy"}}};
  for (const auto& [plain, coded] : cases) {
    EXPECT_EQ(to_base64url(as_bytes(plain)), coded);
    Bytes out;
    EXPECT_TRUE(from_base64url(coded, out));
    EXPECT_EQ(as_text(out), plain);
  }
}

TEST(Bytes, Base64UrlRefusesWhatItWouldNotWrite) {
  Bytes out;
  for (const char* text : {"Z", "Zg==", "Zh", "Zm9v!", "Zm9 v", "Zm+v"}) {
    EXPECT_FALSE(from_base64url(text, out)) << text;
  }
}

}  // namespace
}  // namespace openp2p
